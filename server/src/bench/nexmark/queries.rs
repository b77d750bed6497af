//! The queries of NEXMark in their usual SQL, as in `sqllogictest/slt/workloads/nexmark.slt`.

/// A query over the sources `person`, `auction` and `bid`, and the table `side`.
#[derive(Clone, Copy, Debug)]
pub(in crate::bench) struct Query {
    pub(super) name: &'static str,
    pub(super) what: &'static str,
    pub(super) sql: &'static str,
}

impl Query {
    /// By its name.
    pub(in crate::bench) fn named(name: &str) -> Option<Query> {
        QUERIES.into_iter().find(|query| query.name == name)
    }
}

/// q0 to q22.
pub(super) const QUERIES: [Query; 23] = [
    Query {
        name: "q0",
        what: "pass-through",
        sql: "
SELECT auction, bidder, price, date_time FROM bid",
    },
    Query {
        name: "q1",
        what: "currency",
        sql: "
SELECT auction, bidder, 0.908 * price AS price, date_time FROM bid",
    },
    Query {
        name: "q2",
        what: "filter",
        sql: "
SELECT auction, price FROM bid WHERE auction = 1007 OR auction = 1020 OR auction = 2001 OR auction = 2019 OR auction = 2087",
    },
    Query {
        name: "q3",
        what: "join of person and auction",
        sql: "
SELECT p.name, p.city, p.state, a.id FROM auction AS a INNER JOIN person AS p ON a.seller = p.id
WHERE a.category = 10 AND (p.state = 'or' OR p.state = 'id' OR p.state = 'ca')",
    },
    Query {
        name: "q4",
        what: "average of maxima",
        sql: "
SELECT q.category, avg(q.final) AS avg FROM
  (SELECT max(b.price) AS final, a.category FROM auction a, bid b
   WHERE a.id = b.auction AND b.date_time BETWEEN a.date_time AND a.expires GROUP BY a.id, a.category) q
GROUP BY q.category",
    },
    Query {
        name: "q5",
        what: "hot items, HOP",
        sql: "
SELECT ab.auction, ab.num FROM
  (SELECT bid.auction, count(*) AS num, window_start AS starttime
   FROM HOP(bid, date_time, INTERVAL '2' SECOND, INTERVAL '10' SECOND) GROUP BY window_start, bid.auction) AS ab
JOIN
  (SELECT max(cb.num) AS maxn, cb.starttime_c FROM
     (SELECT count(*) AS num, window_start AS starttime_c
      FROM HOP(bid, date_time, INTERVAL '2' SECOND, INTERVAL '10' SECOND) GROUP BY bid.auction, window_start) AS cb
   GROUP BY cb.starttime_c) AS mb
ON ab.starttime = mb.starttime_c AND ab.num >= mb.maxn",
    },
    Query {
        name: "q6",
        what: "average of a seller's last ten",
        sql: "
SELECT q.seller, avg(q.final) OVER (PARTITION BY q.seller ORDER BY q.date_time, q.id ROWS BETWEEN 10 PRECEDING AND CURRENT ROW) AS avg
FROM (SELECT max(b.price) AS final, a.seller, a.id, max(b.date_time) AS date_time FROM auction a, bid b
      WHERE a.id = b.auction AND b.date_time BETWEEN a.date_time AND a.expires GROUP BY a.id, a.seller) q",
    },
    Query {
        name: "q7",
        what: "highest bid, as a join",
        sql: "
SELECT b.auction, b.price, b.bidder, b.date_time FROM bid b
JOIN (SELECT max(price) AS maxprice, window_end AS date_time
      FROM TUMBLE(bid, date_time, INTERVAL '10' SECOND) GROUP BY window_end) b1
ON b.price = b1.maxprice WHERE b.date_time BETWEEN b1.date_time - INTERVAL '10' SECOND AND b1.date_time",
    },
    Query {
        name: "q8",
        what: "new users, windowed join",
        sql: "
SELECT p.id, p.name, p.starttime FROM
  (SELECT id, name, window_start AS starttime, window_end AS endtime
   FROM TUMBLE(person, date_time, INTERVAL '10' SECOND) GROUP BY id, name, window_start, window_end) p
JOIN (SELECT seller, window_start AS starttime, window_end AS endtime
   FROM TUMBLE(auction, date_time, INTERVAL '10' SECOND) GROUP BY seller, window_start, window_end) a
ON p.id = a.seller AND p.starttime = a.starttime AND p.endtime = a.endtime",
    },
    Query {
        name: "q9",
        what: "winning bids",
        sql: "
SELECT id, item_name, seller, category, auction, bidder, price, bid_date_time FROM
  (SELECT a.id, a.item_name, a.seller, a.category, b.auction, b.bidder, b.price, b.date_time AS bid_date_time,
          row_number() OVER (PARTITION BY a.id ORDER BY b.price DESC, b.date_time ASC, b.bidder) AS rownum
   FROM auction a, bid b WHERE a.id = b.auction AND b.date_time BETWEEN a.date_time AND a.expires) tmp
WHERE rownum <= 1",
    },
    Query {
        name: "q10",
        what: "log",
        sql: "
SELECT auction, bidder, price, date_time, to_char(date_time, 'YYYY-MM-DD') AS date, to_char(date_time, 'HH24:MI') AS time FROM bid",
    },
    Query {
        name: "q11",
        what: "sessions",
        sql: "
SELECT bidder, count(*) AS bid_count, window_start, window_end
FROM SESSION(bid, date_time, INTERVAL '10' SECOND, bidder) GROUP BY bidder, window_start, window_end",
    },
    Query {
        name: "q12",
        what: "counts by window",
        sql: "
SELECT bidder, count(*) AS bid_count, window_start, window_end
FROM TUMBLE(bid, date_time, INTERVAL '10' SECOND) GROUP BY bidder, window_start, window_end",
    },
    Query {
        name: "q13",
        what: "join with a side table",
        sql: "
SELECT b.auction, b.bidder, b.price, b.date_time, s.value FROM bid b JOIN side s ON b.auction % 100 = s.key",
    },
    Query {
        name: "q14",
        what: "calculation",
        sql: "
SELECT auction, bidder, 0.908 * price AS price,
  CASE WHEN extract(hour FROM date_time) >= 8 AND extract(hour FROM date_time) <= 18 THEN 'dayTime'
       WHEN extract(hour FROM date_time) <= 6 OR extract(hour FROM date_time) >= 20 THEN 'nightTime'
       ELSE 'otherTime' END AS bidtimetype,
  date_time, length(url) - length(replace(url, 'c', '')) AS c_counts
FROM bid WHERE 0.908 * price > 1000000 AND 0.908 * price < 50000000",
    },
    Query {
        name: "q15",
        what: "distinct counts by day",
        sql: "
SELECT to_char(date_time, 'YYYY-MM-DD') AS day, count(*) AS total_bids,
  count(*) FILTER (WHERE price < 10000) AS rank1_bids,
  count(*) FILTER (WHERE price >= 10000 AND price < 1000000) AS rank2_bids,
  count(*) FILTER (WHERE price >= 1000000) AS rank3_bids,
  count(DISTINCT bidder) AS total_bidders,
  count(DISTINCT bidder) FILTER (WHERE price < 10000) AS rank1_bidders,
  count(DISTINCT bidder) FILTER (WHERE price >= 1000000) AS rank3_bidders,
  count(DISTINCT auction) AS total_auctions,
  count(DISTINCT auction) FILTER (WHERE price < 10000) AS rank1_auctions
FROM bid GROUP BY to_char(date_time, 'YYYY-MM-DD')",
    },
    Query {
        name: "q16",
        what: "the same by channel",
        sql: "
SELECT channel, to_char(date_time, 'YYYY-MM-DD') AS day, max(to_char(date_time, 'HH24:MI')) AS minute,
  count(*) AS total_bids, count(*) FILTER (WHERE price < 10000) AS rank1_bids,
  count(DISTINCT bidder) AS total_bidders,
  count(DISTINCT bidder) FILTER (WHERE price >= 10000 AND price < 1000000) AS rank2_bidders,
  count(DISTINCT auction) AS total_auctions
FROM bid GROUP BY channel, to_char(date_time, 'YYYY-MM-DD')",
    },
    Query {
        name: "q17",
        what: "statistics by auction",
        sql: "
SELECT auction, to_char(date_time, 'YYYY-MM-DD') AS day, count(*) AS total_bids,
  count(*) FILTER (WHERE price < 10000) AS rank1_bids,
  min(price) AS min_price, max(price) AS max_price, avg(price) AS avg_price, sum(price) AS sum_price
FROM bid GROUP BY auction, to_char(date_time, 'YYYY-MM-DD')",
    },
    Query {
        name: "q18",
        what: "last bid",
        sql: "
SELECT auction, bidder, price, channel, date_time FROM
  (SELECT *, row_number() OVER (PARTITION BY bidder, auction ORDER BY date_time DESC, price) AS rank_number FROM bid) r
WHERE rank_number <= 1",
    },
    Query {
        name: "q19",
        what: "top ten of an auction",
        sql: "
SELECT auction, bidder, price, rank_number FROM
  (SELECT *, row_number() OVER (PARTITION BY auction ORDER BY price DESC, date_time, bidder) AS rank_number FROM bid) r
WHERE rank_number <= 10",
    },
    Query {
        name: "q20",
        what: "expanded bids",
        sql: "
SELECT b.auction, b.bidder, b.price, b.channel, b.date_time AS bid_date_time, a.item_name, a.category
FROM bid AS b INNER JOIN auction AS a ON b.auction = a.id WHERE a.category = 10",
    },
    Query {
        name: "q21",
        what: "channel ids",
        sql: "
SELECT auction, bidder, price, channel,
  CASE WHEN lower(channel) = 'apple' THEN '0' WHEN lower(channel) = 'google' THEN '1'
       WHEN lower(channel) = 'facebook' THEN '2' WHEN lower(channel) = 'baidu' THEN '3'
       ELSE (regexp_match(url, '(&|^)channel_id=([^&]*)'))[2] END AS channel_id
FROM bid
WHERE (regexp_match(url, '(&|^)channel_id=([^&]*)'))[2] IS NOT NULL OR lower(channel) IN ('apple', 'google', 'facebook', 'baidu')",
    },
    Query {
        name: "q22",
        what: "split url",
        sql: "
SELECT auction, bidder, price, channel, split_part(url, '/', 4) AS dir1, split_part(url, '/', 5) AS dir2, split_part(url, '/', 6) AS dir3
FROM bid",
    },
];
