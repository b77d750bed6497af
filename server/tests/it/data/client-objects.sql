CREATE TABLE bid (auction bigint NOT NULL, bidder bigint, price numeric(20,2) DEFAULT 0, channel varchar(20), date_time timestamp, tags text[], j jsonb, ok boolean, PRIMARY KEY (auction));
CREATE VIEW v1 AS SELECT auction, price FROM bid;
CREATE MATERIALIZED VIEW mv AS SELECT channel, count(*) AS c FROM bid GROUP BY channel;
COMMENT ON TABLE bid IS 'what was offered';
