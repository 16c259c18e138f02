// The loader of the call benchmark: a process of its own that keeps a number of calls in flight.
import { Client, credentials, Metadata } from "@grpc/grpc-js";
import { percentile } from "./figures.ts";
import { answer } from "./process.ts";

/** What the parent asks. */
export interface LoadQuestion {
  readonly address: string;
  readonly method: string;
  readonly token: string;
  readonly calls: number;
  readonly inFlight: number;
}

/** What it answers; latencies in milliseconds. */
export interface LoadAnswer {
  readonly seconds: number;
  readonly latencies: { readonly p50: number; readonly p99: number };
}

const bytes = (value: Buffer) => value;
const request = Buffer.alloc(100, 3);
const clients = new Map<string, Client>();

answer(async ({ address, method, token, calls, inFlight }: LoadQuestion): Promise<LoadAnswer> => {
  const client = clients.get(address) ?? new Client(address, credentials.createInsecure());
  clients.set(address, client);
  const metadata = new Metadata();
  metadata.set("authorization", `Bearer ${token}`);
  const latencies: number[] = [];
  const one = () =>
    new Promise<void>((resolve, reject) => {
      const began = performance.now();
      client.makeUnaryRequest(`/${method}`, bytes, bytes, request, metadata, (error) => {
        if (error !== null) return reject(error);
        latencies.push(performance.now() - began);
        resolve();
      });
    });
  let left = calls;
  const began = performance.now();
  await Promise.all(
    Array.from({ length: inFlight }, async () => {
      while (left > 0) {
        left -= 1;
        await one();
      }
    }),
  );
  const seconds = (performance.now() - began) / 1000;
  const sorted = latencies.toSorted((a, b) => a - b);
  return { seconds, latencies: { p50: percentile(sorted, 0.5), p99: percentile(sorted, 0.99) } };
});
