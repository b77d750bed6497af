// pgJDBC: named statements, fetch sizes, batches, and what its metadata asks of the catalogs.

import java.math.BigDecimal;
import java.sql.Connection;
import java.sql.DatabaseMetaData;
import java.sql.Date;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.ResultSetMetaData;
import java.sql.SQLException;
import java.sql.Savepoint;
import java.sql.Statement;
import java.sql.Timestamp;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Properties;
import java.util.TimeZone;
import java.util.UUID;
import org.postgresql.PGConnection;

public class PgJdbc {
    public static void main(String[] arguments) throws Exception {
        TimeZone.setDefault(TimeZone.getTimeZone("UTC"));
        String url = String.format("jdbc:postgresql://%s:%s/%s", System.getenv("PGHOST"), System.getenv("PGPORT"), System.getenv("PGDATABASE"));
        Properties properties = new Properties();
        properties.setProperty("user", System.getenv("PGUSER"));
        try (Connection connection = DriverManager.getConnection(url, properties)) {
            show("valid", connection.isValid(5));
            show("product", connection.getMetaData().getDatabaseProductName());
            values(connection);
            transactions(connection);
            copies(connection);
            metadata(connection);
            errors(connection);
            try (Statement statement = connection.createStatement()) {
                statement.execute("drop materialized view totals");
                statement.execute("drop view cheap");
                statement.execute("drop table everything, child");
            }
        }
    }

    static void values(Connection connection) throws Exception {
        try (Statement statement = connection.createStatement()) {
            statement.execute("create table everything (id serial primary key, b boolean, i2 smallint, i4 integer, i8 bigint, f4 real, f8 double precision,"
                    + " n numeric(12,3) default 1.5, t text not null, v varchar(10), d date, ts timestamp, tz timestamptz, by bytea, j jsonb, u uuid, ia integer[], ta text[])");
            statement.execute("comment on table everything is 'of all kinds'");
        }
        String insert = "insert into everything (b, i2, i4, i8, f4, f8, n, t, v, d, ts, tz, by, u, ia, ta) values (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)";
        try (PreparedStatement statement = connection.prepareStatement(insert, Statement.RETURN_GENERATED_KEYS)) {
            for (int n = 0; n < 3; n++) {
                statement.setBoolean(1, n == 0);
                statement.setShort(2, (short) -n);
                statement.setInt(3, 70000 + n);
                statement.setLong(4, 9_000_000_000L + n);
                statement.setFloat(5, 1.5f);
                statement.setDouble(6, -0.25);
                statement.setBigDecimal(7, new BigDecimal("12345.670"));
                statement.setString(8, "it's " + n);
                statement.setString(9, n == 1 ? null : "short");
                statement.setDate(10, Date.valueOf("1999-12-31"));
                statement.setTimestamp(11, Timestamp.valueOf("2024-02-29 23:59:59"));
                statement.setObject(12, java.time.OffsetDateTime.parse("2024-01-01T00:00:00Z"));
                statement.setBytes(13, new byte[] {0, (byte) 255});
                statement.setObject(14, UUID.fromString("12345678-1234-5678-1234-567812345678"));
                statement.setArray(15, connection.createArrayOf("integer", new Integer[] {1, null, 3}));
                statement.setArray(16, connection.createArrayOf("text", new String[] {"a", "b,c"}));
                statement.addBatch();
            }
            show("batch", Arrays.toString(statement.executeBatch()));
            rows("keys", statement.getGeneratedKeys());
        }
        try (PreparedStatement statement = connection.prepareStatement("select * from everything where id >= ? order by id")) {
            // From the fifth use on the statement has a name, and results are binary.
            for (int n = 0; n < 7; n++) {
                statement.setInt(1, 2);
                ResultSet found = statement.executeQuery();
                if (n == 0 || n == 6) {
                    rows("use " + n, found);
                }
            }
            ResultSetMetaData columns = statement.getMetaData();
            for (int at = 1; at <= columns.getColumnCount(); at++) {
                show("column", columns.getColumnName(at) + " " + columns.getColumnTypeName(at) + " " + columns.getColumnType(at) + " " + columns.getPrecision(at)
                        + " " + columns.getScale(at) + " " + columns.getTableName(at) + " " + columns.isNullable(at) + " " + columns.isAutoIncrement(at) + " " + columns.getColumnDisplaySize(at));
            }
            show("parameter", statement.getParameterMetaData().getParameterTypeName(1));
        }
        try (PreparedStatement statement = connection.prepareStatement("update everything set n = ?, ts = ? where id = ? and v is not distinct from ?")) {
            statement.setBigDecimal(1, new BigDecimal("2.5"));
            statement.setTimestamp(2, Timestamp.valueOf("2024-03-01 00:00:00"));
            statement.setInt(3, 1);
            statement.setString(4, "short");
            show("updated", statement.executeUpdate());
        }
    }

    static void transactions(Connection connection) throws Exception {
        connection.setAutoCommit(false);
        try (Statement statement = connection.createStatement()) {
            for (int n = 0; n < 20; n++) {
                statement.addBatch("insert into everything (t) values ('row " + n + "')");
            }
            statement.executeBatch();
            connection.commit();
            statement.setFetchSize(7);
            ResultSet found = statement.executeQuery("select t from everything order by id");
            int count = 0;
            while (found.next()) {
                count++;
            }
            show("fetched", count);
            statement.setMaxRows(4);
            rows("limited", statement.executeQuery("select t from everything order by id"));
            statement.setMaxRows(0);
            Savepoint savepoint = connection.setSavepoint("here");
            statement.executeUpdate("delete from everything where id > 3");
            connection.rollback(savepoint);
            rows("count", statement.executeQuery("select count(*) from everything"));
            connection.rollback();
        }
        connection.setReadOnly(true);
        try (Statement statement = connection.createStatement()) {
            attempt("read only", () -> statement.executeUpdate("delete from everything"));
        }
        connection.rollback();
        connection.setReadOnly(false);
        show("isolation", connection.getTransactionIsolation());
        connection.setAutoCommit(true);
        show("schema", connection.getSchema());
        show("catalog", connection.getCatalog());
        try (Statement statement = connection.createStatement()) {
            statement.setQueryTimeout(1);
            attempt("query timeout", () -> statement.executeQuery("select pg_sleep(30)"));
        }
    }

    static void copies(Connection connection) throws Exception {
        var copies = connection.unwrap(PGConnection.class).getCopyAPI();
        show("copied in", copies.copyIn("copy everything (i4, t) from stdin with (format csv)", new java.io.StringReader("1,one\n2,\"t,wo\"\n")));
        var out = new java.io.StringWriter();
        show("copied out", copies.copyOut("copy (select i4, t from everything where i4 < 3 order by i4) to stdout", out));
        show("text", out);
    }

    static void metadata(Connection connection) throws Exception {
        try (Statement statement = connection.createStatement()) {
            statement.execute("create table child (a integer, b integer, c text default 'x', primary key (b, a))");
            statement.execute("create view cheap as select id, n from everything where n < 10");
            statement.execute("create materialized view totals as select v, count(*) as c from everything group by v");
        }
        DatabaseMetaData data = connection.getMetaData();
        rows("tables", data.getTables(null, "public", "%", new String[] {"TABLE", "VIEW", "MATERIALIZED VIEW", "SEQUENCE"}));
        rows("columns", data.getColumns(null, "public", "%", "%"));
        rows("keys everything", data.getPrimaryKeys(null, "public", "everything"));
        rows("keys child", data.getPrimaryKeys(null, "public", "child"));
        rows("indexes", data.getIndexInfo(null, "public", "child", false, false));
        rows("imported", data.getImportedKeys(null, "public", "child"));
        rows("row identifier", data.getBestRowIdentifier(null, "public", "child", DatabaseMetaData.bestRowSession, true));
        rows("privileges", data.getTablePrivileges(null, "public", "nothing"));
        rows("functions", data.getFunctions(null, "public", "%"));
        rows("procedures", data.getProcedures(null, "public", "%"));
        rows("catalogs", data.getCatalogs());
        ResultSet schemas = data.getSchemas();
        List<String> names = new ArrayList<>();
        while (schemas.next()) {
            names.add(schemas.getString(1));
        }
        show("public", names.contains("public"));
        ResultSet types = data.getTypeInfo();
        names.clear();
        while (types.next()) {
            names.add(types.getString(1));
        }
        for (String name : List.of("int4", "text", "jsonb", "timestamptz", "_int4", "uuid", "numeric")) {
            show("type " + name, names.contains(name));
        }
    }

    static void errors(Connection connection) throws Exception {
        try (Statement statement = connection.createStatement()) {
            for (String sql : List.of("select * from nothing", "selec 1", "select 1/0", "insert into child values (1, null)", "select 'x'::int")) {
                attempt(sql, () -> statement.execute(sql));
            }
        }
    }

    interface Action {
        Object run() throws SQLException;
    }

    static void attempt(String name, Action action) {
        try {
            action.run();
            show(name, "no error");
        } catch (SQLException error) {
            show(name, error.getSQLState() + " " + error.getMessage().split("\n")[0]);
        }
    }

    static void rows(String name, ResultSet found) throws SQLException {
        int width = found.getMetaData().getColumnCount();
        while (found.next()) {
            List<String> values = new ArrayList<>();
            for (int at = 1; at <= width; at++) {
                boolean isBytes = found.getMetaData().getColumnTypeName(at).equals("bytea");
                values.add(isBytes ? Arrays.toString(found.getBytes(at)) : found.getString(at));
            }
            show(name, values);
        }
    }

    static void show(String name, Object value) {
        System.out.println(name + ": " + String.valueOf(value).replace("\n", "\\n"));
    }
}
