import { storeConformance } from "@brevet/testing/store-conformance";
import { openEmbeddedStore } from "./embedded.ts";

storeConformance("embedded", openEmbeddedStore);
