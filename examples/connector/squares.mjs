// squares.mjs: a connector for Node without any package, by docs/protocol/connector.md and arrow.md alone.
//
// A host runs it as `ipc::node squares.mjs`. A location is a number of rows, of the columns n and square.
import { once } from "node:events";
import { createInterface } from "node:readline";

const ROWS_OF_BATCH = 1000;

// The two messages of arrow.md. What is filled in of a batch: the size of its body, rows, nodes, buffers.
const SCHEMA = Buffer.from(
  "ffffffffc8000000100000000a000c0004000600080000000c000000040001000c0000000800080000000400080000000400000002000000" +
    "1800000058000000100014000400000008000c00000010001000000010000000020000001800000020000000010000006e00000008000c00" +
    "0400080008000000400000000100000000000000100014000400000008000c00000010001000000010000000020000001c00000024000000" +
    "06000000737175617265000008000c00040008000800000040000000010000000000000000000000",
  "hex",
);
const BATCH = Buffer.from(
  "ffffffffc0000000100000000c00180004000600080010000c00000004000300200000000000000000000000000000000a00180008001000" +
    "1400000000000000100000000000000000000000000000000c00000030000000000000000200000000000000000000000000000000000000" +
    "000000000000000000000000000000000000000004" +
    "00".repeat(67),
  "hex",
);
const [BODY, ROWS, NODES, BUFFERS] = [40, 72, 96, 136];
const END = Buffer.from("ffffffff00000000", "hex");

async function write(bytes) {
  if (!process.stdout.write(bytes)) await once(process.stdout, "drain"); // as fast as the host reads, and no faster
}

function batch(begin, end) {
  const rows = end - begin;
  const message = Buffer.concat([BATCH, Buffer.alloc(16 * rows)]);
  const set = (at, value) => message.writeBigInt64LE(BigInt(value), at);
  set(BODY, 16 * rows);
  for (const at of [ROWS, NODES, NODES + 16]) set(at, rows);
  for (const at of [24, 32, 48, 56]) set(BUFFERS + at, 8 * rows); // sizes of both columns; the second begins after the first
  for (let i = 0; i < rows; i++) {
    const n = BigInt(begin + i + 1);
    message.writeBigInt64LE(n, BATCH.length + 8 * i);
    message.writeBigInt64LE(n * n, BATCH.length + 8 * (rows + i));
  }
  return message;
}

async function data(reply, { location }) {
  if (typeof location?.location !== "string") throw { code: -32602, message: "no location" };
  const rows = /^\d{1,8}$/.test(location.location) ? Number(location.location) : NaN;
  if (Number.isNaN(rows)) throw { code: -32000, message: "a location is a number of rows" };
  const batches = Math.ceil(rows / ROWS_OF_BATCH);
  const length = Buffer.alloc(4); // the size goes first: it has to be known
  if (rows > 0) length.writeUInt32BE(SCHEMA.length + batches * BATCH.length + 16 * rows + END.length);
  await reply({ ok: true });
  await write(length);
  if (rows === 0) return; // no data
  await write(SCHEMA);
  for (let at = 0; at < rows; at += ROWS_OF_BATCH) await write(batch(at, Math.min(at + ROWS_OF_BATCH, rows)));
  await write(END);
}

const methods = {
  handshake: (reply) => reply({ protocol_version: "1" }),
  ping: (reply) => reply("pong"),
  discover: (reply) =>
    reply({ locations: [{ location: "10", num_rows: 10 }, { location: "1000000", num_rows: 1000000 }, { location: "0" }] }),
  data,
  stable_url: (reply) => reply(null),
  shutdown: (reply) => reply({ ok: true }),
};

async function handle(line) {
  let id = null;
  const send = (member) => write(JSON.stringify({ jsonrpc: "2.0", id, ...member }) + "\n");
  try {
    let request;
    try {
      request = JSON.parse(line);
    } catch {
      throw { code: -32700, message: "not JSON" };
    }
    if (typeof request?.method !== "string") throw { code: -32600, message: "not a request" };
    if (!("id" in request)) return; // a notification: none is known
    id = request.id;
    if (!Object.hasOwn(methods, request.method)) throw { code: -32601, message: "there is no such method" };
    await methods[request.method]((result) => send({ result }), request.params ?? {});
    if (request.method === "shutdown") process.exit(0);
  } catch ({ code = -32000, message }) {
    await send({ error: { code, message } });
  }
}

for await (const line of createInterface({ input: process.stdin, crlfDelay: Infinity })) {
  if (line.trim() !== "") await handle(line);
}
