//! What a session missed: one statement finds the topics with news, a second reads the page.
//!
//! Filters become branches (`a/b/+` is the branch `a/b`), and the index of heads gives those topics of a branch and
//! partition whose head is after the cursor: idle topics cost nothing. What the index cannot say (other wildcards, where
//! each filter begins) is decided here.

use ahash::AHashMap;
use bytes::Bytes;
use contract::persistence::{BacklogLane, BacklogPage, BacklogRequest};
use model::{PartitionId, Position, TopicFilter, UnixMillis};
use sqlx::Row;
use sqlx::postgres::PgRow;

use super::conn::Conn;
use super::shared::{Shared, at_most, int, position};
use super::topics::branch;
use crate::rules::pages::Filling;
use crate::rules::starts::Starts;
use crate::{Service, StoreError};

const DOING: &str = "reading a backlog";
/// Exact topics of one branch from which on the whole branch is asked for instead.
const MANY: usize = 32;
/// What is read of each topic at least, when there are many.
const FEW: usize = 16;
/// After every topic below a branch.
const MAX: char = '\u{10ffff}';

/// A topic with news.
struct News {
    topic: i64,
    lane: i64,
    after: i64,
    upto: i64,
    first_at: i64,
    messages: bool,
    receipts: bool,
}

pub(super) async fn backlog(
    shared: &Shared,
    request: &BacklogRequest,
    now: UnixMillis,
) -> Result<BacklogPage, StoreError> {
    let mut filling = Filling::of(request);
    let mut rows = Rows::default();
    if request.lanes.iter().any(|lane| lane.after < lane.upto) {
        let mut conn = shared.conn(DOING).await?;
        let news = news(shared, &mut conn, request).await?;
        if !news.is_empty() {
            rows = read(&mut conn, request, news, now).await?;
        }
    }
    rows.fill(request, &mut filling);
    Ok(filling.page())
}

/// Ranges of branches, and topics by name, that have everything the filters match.
#[derive(Default)]
pub(super) struct Reach<'a> {
    pub low: Vec<&'a str>,
    pub high: Vec<String>,
    pub topics: Vec<&'a str>,
}

impl<'a> Reach<'a> {
    pub fn of(filters: impl Iterator<Item = &'a TopicFilter>) -> Self {
        let (mut reach, mut exact) = (Self::default(), AHashMap::<&str, Vec<&str>>::new());
        for filter in filters {
            let name = filter.as_str();
            if !filter.has_wildcard() {
                exact.entry(branch(name)).or_default().push(name);
                continue;
            }
            let prefix = filter.literal_prefix();
            let fixed = prefix.strip_suffix('/').unwrap_or(prefix);
            if name == "+" || name.strip_suffix("/+") == Some(fixed) {
                reach.range(fixed, fixed.to_owned());
                continue;
            }
            // `a/#` has the topic `a` as well.
            if name.ends_with('#') && !fixed.is_empty() {
                exact.entry(branch(fixed)).or_default().push(fixed);
            }
            reach.range(fixed, format!("{fixed}{MAX}"));
        }
        for (branch, topics) in exact {
            match topics.len() {
                0..MANY => reach.topics.extend(topics),
                _ => reach.range(branch, branch.to_owned()),
            }
        }
        reach
    }

    fn range(&mut self, low: &'a str, high: String) {
        self.low.push(low);
        self.high.push(high);
    }
}

/// The topics that have something for the request.
async fn news(
    shared: &Shared,
    conn: &mut Conn<'_>,
    request: &BacklogRequest,
) -> Result<Vec<News>, StoreError> {
    let text = "WITH lane AS (SELECT * FROM unnest($2::bigint[], $3::bigint[]) l (partition, after)),
                branch AS (SELECT DISTINCT b.id FROM unnest($4::text[], $5::text[]) r (low, high)
                  JOIN branches b ON b.org = $1 AND b.name >= r.low AND b.name <= r.high),
                named AS (SELECT t.id FROM unnest($6::text[]) n (topic) JOIN topics t ON t.org = $1 AND t.topic = n.topic),
                found AS (
                  SELECT h.topic, h.head, h.first_at, 0 AS changed FROM branch b CROSS JOIN lane l
                    JOIN heads h ON h.branch = b.id AND h.partition = l.partition AND h.head > l.after
                  UNION ALL SELECT h.topic, 0, 0, h.head FROM branch b CROSS JOIN lane l
                    JOIN receipt_heads h ON h.branch = b.id AND h.partition = l.partition AND h.head > l.after
                  UNION ALL SELECT h.topic, h.head, h.first_at, 0 FROM named n JOIN heads h ON h.topic = n.id
                    JOIN lane l ON h.partition = l.partition AND h.head > l.after
                  UNION ALL SELECT h.topic, 0, 0, h.head FROM named n JOIN receipt_heads h ON h.topic = n.id
                    JOIN lane l ON h.partition = l.partition AND h.head > l.after)
                SELECT t.partition, f.topic, t.topic, max(f.head), max(f.first_at), max(f.changed)
                  FROM found f JOIN topics t ON t.id = f.topic GROUP BY t.partition, f.topic, t.topic
                UNION ALL SELECT partition, NULL, NULL, position, 0, 0 FROM progress WHERE service = $7 AND position > 0";
    let open: Vec<&BacklogLane> = request.lanes.iter().filter(|l| l.after < l.upto).collect();
    let reach = Reach::of(request.filters.iter().map(|part| &part.filter));
    let ask = sqlx::query(text)
        .bind(request.org.as_str())
        .bind(open.iter().map(|l| i64::from(l.partition.0)).collect::<Vec<_>>())
        .bind(open.iter().map(|l| int(l.after.0)).collect::<Vec<_>>())
        .bind(&reach.low)
        .bind(&reach.high)
        .bind(&reach.topics)
        .bind(Service::Persistence as i64);
    let rows = conn.rows(DOING, ask).await?;
    let picker = Picker::new(request);
    let (mut news, mut stored) = (Vec::new(), Vec::new());
    for row in &rows {
        let partition = PartitionId(row.try_get::<i64, _>(0).map_err(StoreError::postgres(DOING))? as u16);
        match row
            .try_get::<Option<&str>, _>(2)
            .map_err(StoreError::postgres(DOING))?
        {
            Some(name) => news.extend(picker.pick(partition, name, row)?),
            None => {
                let at = row.try_get(3).map_err(StoreError::postgres(DOING))?;
                stored.push((partition, position(at)));
            }
        }
    }
    let upto = |p| {
        open.iter()
            .find(|l| l.partition == p)
            .map_or(Position::START, |l| l.upto)
    };
    match shared.known.progress.broken(Service::Persistence, &stored, upto) {
        Some(error) => Err(error),
        None => Ok(news),
    }
}

/// Decides what the index could not.
struct Picker<'a> {
    starts: Starts<'a>,
    /// Exact topics, with their parts of the request.
    exact: AHashMap<&'a str, Vec<usize>>,
    wild: Vec<usize>,
    request: &'a BacklogRequest,
}

impl<'a> Picker<'a> {
    fn new(request: &'a BacklogRequest) -> Self {
        let (mut exact, mut wild) = (AHashMap::<&str, Vec<usize>>::new(), Vec::new());
        for (i, part) in request.filters.iter().enumerate() {
            match part.filter.has_wildcard() {
                true => wild.push(i),
                false => exact.entry(part.filter.as_str()).or_default().push(i),
            }
        }
        Self {
            starts: Starts::of(request),
            exact,
            wild,
            request,
        }
    }

    fn pick(&self, partition: PartitionId, name: &str, row: &PgRow) -> Result<Option<News>, StoreError> {
        let Some((lane, at)) = self.starts.lane(partition) else {
            return Ok(None);
        };
        let wild = self
            .wild
            .iter()
            .filter(|i| self.request.filters[**i].filter.matches(name));
        let parts = self.exact.get(name).into_iter().flatten().chain(wild);
        let Some(after) = self.starts.after(at, parts.copied()) else {
            return Ok(None);
        };
        let number = |i: usize| row.try_get::<i64, _>(i).map_err(StoreError::postgres(DOING));
        let news = News {
            topic: number(1)?,
            lane: lane as i64,
            after: int(after.0),
            upto: int(at.upto.0),
            first_at: number(4)?,
            messages: position(number(3)?) > after,
            receipts: position(number(5)?) > after,
        };
        Ok((news.messages || news.receipts).then_some(news))
    }
}

/// Reads what may be in the page.
async fn read(
    conn: &mut Conn<'_>,
    request: &BacklogRequest,
    news: Vec<News>,
    now: UnixMillis,
) -> Result<Rows, StoreError> {
    // Of each topic as many as the page may take, less when there are many of them; how far each was read bounds the page.
    let text = "WITH u AS (SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[],
                                   $6::boolean[], $7::boolean[])
                     u (topic, lane, after, upto, first_at, messages, receipts)),
                p AS (
                  SELECT u.lane, u.topic, 0::bigint AS source, m.position, m.accepted_at, NULL::bytea AS entry
                    FROM u CROSS JOIN LATERAL (SELECT m.position, m.accepted_at FROM messages m
                      WHERE m.topic = u.topic AND m.position > u.after AND m.position <= u.upto
                        AND m.accepted_at >= u.first_at AND m.flags & 4 = 0 AND (m.expires_at IS NULL OR m.expires_at > $8)
                      ORDER BY m.position LIMIT $9) m WHERE u.messages
                  UNION ALL SELECT u.lane, u.topic, 1, r.changed, 0, r.entry
                    FROM u CROSS JOIN LATERAL (SELECT r.changed, r.entry FROM receipts r
                      WHERE r.topic = u.topic AND r.changed > u.after AND r.changed <= u.upto
                      ORDER BY r.changed LIMIT $9) r WHERE u.receipts
                  UNION ALL SELECT u.lane, u.topic, 2, r.changed, 0, r.entry
                    FROM u CROSS JOIN LATERAL (SELECT r.changed, r.entry FROM marks r
                      WHERE r.topic = u.topic AND r.changed > u.after AND r.changed <= u.upto
                      ORDER BY r.changed LIMIT $9) r WHERE u.receipts
                  ORDER BY 1, 4 LIMIT $10),
                e AS (SELECT p.lane, p.topic, p.source, p.position, coalesce(m.prev, 0) AS prev, coalesce(p.entry, m.entry) AS entry
                  FROM p LEFT JOIN messages m ON p.source = 0 AND m.topic = p.topic AND m.position = p.position
                    AND m.accepted_at = p.accepted_at),
                sized AS (SELECT *, count(*) OVER () AS found,
                  sum(octet_length(entry)) OVER (ORDER BY lane, position) AS size FROM e)
                SELECT lane, topic, source, position, prev, entry, found FROM sized
                WHERE size - octet_length(entry) <= $11 ORDER BY lane, position";
    let most = request.max_entries.max(1);
    let each = (most.saturating_mul(4) / news.len().max(1))
        .clamp(FEW.min(most), most)
        .saturating_add(1);
    let column = |of: fn(&News) -> i64| news.iter().map(of).collect::<Vec<i64>>();
    let ask = sqlx::query(text)
        .bind(column(|n| n.topic))
        .bind(column(|n| n.lane))
        .bind(column(|n| n.after))
        .bind(column(|n| n.upto))
        .bind(column(|n| n.first_at))
        .bind(news.iter().map(|n| n.messages).collect::<Vec<bool>>())
        .bind(news.iter().map(|n| n.receipts).collect::<Vec<bool>>())
        .bind(int(now.0))
        .bind(at_most(each))
        .bind(at_most(most.saturating_add(1)))
        .bind(at_most(request.max_bytes));
    let rows = conn.rows(DOING, ask).await?;
    let rows = rows.iter().map(Line::read).collect::<Result<Vec<_>, _>>();
    let rows = rows.map_err(StoreError::postgres(DOING))?;
    let whole = rows
        .first()
        .is_none_or(|row| row.found == rows.len() && row.found <= most);
    Ok(Rows { rows, each, whole })
}

/// A row of the page.
struct Line {
    lane: usize,
    source: (i64, i64),
    position: Position,
    prev: Option<Position>,
    entry: Bytes,
    /// How many rows there were before those too many in bytes were left out.
    found: usize,
}

impl Line {
    fn read(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            lane: row.try_get::<i64, _>(0)? as usize,
            source: (row.try_get(1)?, row.try_get(2)?),
            position: position(row.try_get(3)?),
            prev: Some(position(row.try_get(4)?)).filter(|prev| *prev != Position::START),
            entry: row.try_get::<Vec<u8>, _>(5)?.into(),
            found: row.try_get::<i64, _>(6)? as usize,
        })
    }
}

/// What was read for a page: of each source at most `each`, and not `whole` when what comes after the last was cut off.
struct Rows {
    rows: Vec<Line>,
    each: usize,
    whole: bool,
}

impl Default for Rows {
    /// There is nothing.
    fn default() -> Self {
        Self {
            rows: Vec::new(),
            each: usize::MAX,
            whole: true,
        }
    }
}

impl Rows {
    /// Puts the rows into the page as far as nothing before them is missing.
    fn fill(self, request: &BacklogRequest, filling: &mut Filling<'_>) {
        let mut bounds: Vec<Position> = request.lanes.iter().map(|lane| lane.upto).collect();
        // What was read of a source ends where it was cut off.
        let mut counts: AHashMap<(i64, i64), usize> = AHashMap::new();
        for row in &self.rows {
            let count = counts.entry(row.source).or_default();
            *count += 1;
            if *count == self.each {
                bounds[row.lane] = row.position.min(bounds[row.lane]);
            }
        }
        let mut rows = self.rows.into_iter().peekable();
        for (lane, bound) in bounds.into_iter().enumerate() {
            let mut last = None;
            while let Some(row) = rows.next_if(|row| row.lane == lane) {
                last = Some(row.position);
                if row.position <= bound && !filling.put(lane, row.position, row.prev, row.entry) {
                    return;
                }
            }
            if !self.whole && rows.peek().is_none() {
                // Of this lane the rest is missing, and all of those after it.
                last.into_iter()
                    .for_each(|last| filling.reach(lane, bound.min(last)));
                return;
            }
            filling.reach(lane, bound);
        }
    }
}
