// nginx with grpc_pass, as one would put it in front of a service: what the proxy is measured beside, where it is installed.
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

/** A running nginx. */
export interface Nginx extends AsyncDisposable {
  readonly address: string;
  /** CPU of its worker since it began, microseconds, in steps of 10 ms. */
  cpuMicros(): number;
}

/** Whether it is here. */
export function hasNginx(): boolean {
  return spawnSync("nginx", ["-v"], { stdio: "ignore" }).status === 0;
}

/** One worker, upstream connections kept. */
export async function startNginx(upstream: string): Promise<Nginx> {
  const port = await freePort();
  const folder = mkdtempSync(join(tmpdir(), "brevet-nginx-"));
  const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((name) => `${name}_temp_path ${folder}/${name};`).join("\n  ");
  writeFileSync(
    join(folder, "nginx.conf"),
    `daemon off; master_process off; pid ${folder}/pid; error_log ${folder}/error.log;
events { worker_connections 1024; }
http {
  access_log off;
  ${temporary}
  keepalive_requests 100000000; http2_max_requests 100000000;
  upstream service { server ${upstream}; keepalive 128; keepalive_requests 100000000; }
  server { listen 127.0.0.1:${port} http2; location / { grpc_pass grpc://service; } }
}
`,
  );
  const child = spawn("nginx", ["-e", join(folder, "error.log"), "-p", folder, "-c", join(folder, "nginx.conf")], { stdio: "ignore" });
  const ended = once(child, "exit");
  await untilOpen(port, child);
  return {
    address: `127.0.0.1:${port}`,
    cpuMicros: () => cpuMicros(child.pid ?? 0),
    async [Symbol.asyncDispose]() {
      child.kill("SIGTERM");
      await ended;
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

async function untilOpen(port: number, child: ChildProcess): Promise<void> {
  for (let attempt = 0; attempt < 100; attempt += 1) {
    if (child.exitCode !== null) throw new Error(`nginx ended with ${child.exitCode}`);
    const socket = connect(port, "127.0.0.1");
    const opened = await new Promise<boolean>((resolve) => {
      socket.once("connect", () => resolve(true)).once("error", () => resolve(false));
    });
    socket.destroy();
    if (opened) return;
    await sleep(50);
  }
  throw new Error("nginx does not listen");
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  await once(server, "close");
  return typeof address === "object" && address !== null ? address.port : 0;
}

/** utime and stime of all threads, proc(5), in ticks of 10 ms. */
function cpuMicros(pid: number): number {
  let ticks = 0;
  for (const thread of readdirSync(`/proc/${pid}/task`)) {
    const stat = readFileSync(`/proc/${pid}/task/${thread}/stat`, "utf8");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    ticks += Number(fields[11]) + Number(fields[12]);
  }
  return ticks * 10_000;
}
