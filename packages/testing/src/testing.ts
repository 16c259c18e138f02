// For tests of what is built on Brevet: a clock that only moves when told, a real authority in this process, an OpenID issuer and
// certificates made on the spot. Everything listens on loopback and cleans up after itself.
export { startTestAuthority, type TestAuthority, type TestAuthorityOptions } from "./authority/authority.ts";
export { type CertificateNames, type Certified, TestCa } from "./certificates/certificates.ts";
export { TestClock } from "./clock/clock.ts";
export { TestIssuer, type TokenOptions } from "./issuer/issuer.ts";
