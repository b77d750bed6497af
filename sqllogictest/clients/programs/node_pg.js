// node-pg: text results, the extended protocol only with parameters.

const { Client, Pool, types } = require("pg");

const at = {
  host: process.env.PGHOST,
  port: Number(process.env.PGPORT),
  user: process.env.PGUSER,
  database: process.env.PGDATABASE,
};

const show = (name, value) => console.log(`${name}: ${JSON.stringify(value)}`);

async function attempt(client, name, text, values) {
  try {
    await client.query(text, values);
    show(name, "no error");
  } catch (error) {
    show(name, [error.code, error.severity, error.message, error.position ?? null]);
  }
}

async function main() {
  const client = new Client(at);
  const notices = [];
  client.on("notice", (notice) => notices.push(notice.message));
  await client.connect();
  await client.query("set time zone 'UTC'");
  await client.query(
    "create table everything (id serial primary key, b boolean, i8 bigint, f8 double precision, n numeric(12,3), t text, " +
      "v varchar(10), d date, ts timestamp, tz timestamptz, by bytea, j jsonb, u uuid, ia integer[], ta text[])",
  );
  const row = [
    true, "9000000000", -0.25, "12345.670", 'it\'s "quoted" ä', "short", "1999-12-31", "2024-02-29 23:59:59",
    new Date("2024-01-01T00:00:00Z"), Buffer.from([0, 255]), { a: [1, null] },
    "12345678-1234-5678-1234-567812345678", [1, null, 3], ["a", "b,c", ""],
  ];
  const marks = row.map((_, n) => `$${n + 1}`).join(", ");
  const inserted = await client.query(
    `insert into everything (b, i8, f8, n, t, v, d, ts, tz, by, j, u, ia, ta) values (${marks}) returning id`, row,
  );
  show("inserted", [inserted.rows, inserted.rowCount, inserted.command]);
  const read = await client.query("select * from everything");
  show("fields", read.fields.map((f) => [f.name, f.dataTypeID, f.dataTypeSize, f.dataTypeModifier, f.columnID, f.format]));
  show("rows", read.rows.map((r) => ({ ...r, d: r.d.toISOString().slice(0, 10), by: r.by.toString("hex") })));
  show("array mode", (await client.query({ text: "select id, t from everything", rowMode: "array" })).rows);
  show("named", (await client.query({ name: "q", text: "select i8 from everything where id = $1", values: [1] })).rows);
  show("named again", (await client.query({ name: "q", text: "select i8 from everything where id = $1", values: [2] })).rows);
  show("several", (await client.query("select 1 as a; select 'x' as b, null as c")).map((r) => r.rows));
  show("any", (await client.query("select id from everything where id = any($1)", [[1, 2]])).rows);
  show("json", (await client.query("select j -> 'a' -> 0 as first, j ->> 'a' as text from everything")).rows);
  await client.query("begin");
  await client.query("insert into everything (t) values ($1)", ["gone"]);
  await client.query("rollback");
  show("count", (await client.query("select count(*) from everything")).rows);
  await attempt(client, "missing", "select * from nothing where a = $1", [1]);
  await attempt(client, "column", "select nothing from everything");
  await attempt(client, "unique", "insert into everything (id) values ($1)", [1]);
  await attempt(client, "text for a number", "select * from everything where id = $1", ["x"]);
  await attempt(client, "syntax", "selec 1");
  show("empty", (await client.query("")).command);
  await client.query("drop table if exists nothing");
  show("notices", notices);
  show("type parser", types.builtins.INT8);
  await client.query("drop table everything");
  await client.end();
  const pool = new Pool({ ...at, max: 3 });
  const answers = await Promise.all([...Array(9).keys()].map((n) => pool.query("select $1::int + 1 as n", [n])));
  show("pool", answers.map((a) => a.rows[0].n));
  await pool.end();
}

main().catch((error) => {
  console.log("failed", error);
  process.exit(1);
});
