//! What the server must hold: everything that it acknowledged.

use std::collections::BTreeMap;
use std::fmt::Debug;

/// Tables that are written together, or definitions: the state after all acknowledged statements,
/// and the one after the statement under way.
#[derive(Debug, Default)]
pub(crate) struct Watched<S> {
    known: S,
    pending: Option<S>,
}

impl<S: Clone + PartialEq + Debug> Watched<S> {
    /// A statement is about to be sent.
    pub(crate) fn begin(&mut self, change: impl FnOnce(&mut S)) {
        let mut next = self.known.clone();
        change(&mut next);
        self.pending = Some(next);
    }

    /// It has been acknowledged.
    pub(crate) fn acknowledged(&mut self) {
        self.known = self.pending.take().expect("a statement is under way");
    }

    /// What a restart has found, which holds from then on.
    pub(crate) fn settle(&mut self, found: S, what: &str) {
        assert!(
            found == self.known || Some(&found) == self.pending.as_ref(),
            "{what}: found {found:#?}\nacknowledged {:#?}\nunder way {:#?}",
            self.known,
            self.pending
        );
        self.known = found;
        self.pending = None;
    }

    /// The state of now; no statement is under way.
    pub(crate) fn now(&self) -> &S {
        &self.known
    }
}

/// Rows of `t (id bigint primary key, g int, v bigint)`, by id.
pub(crate) type Rows = BTreeMap<i64, (i64, i64)>;

/// Rows of `a (n bigint, v bigint)` and of `b`, which transactions write together.
pub(crate) type Accounts = (BTreeMap<i64, i64>, BTreeMap<i64, i64>);

/// What stands where: relations, their columns, and how many rows of a statement are there.
pub(crate) type Facts = BTreeMap<String, String>;

/// Everything that is watched.
#[derive(Debug, Default)]
pub(crate) struct World {
    pub(crate) rows: Watched<Rows>,
    pub(crate) accounts: Watched<Accounts>,
    pub(crate) facts: Watched<Facts>,
    /// The greatest number that a sequence has given.
    pub(crate) given: i64,
}

/// The rows of `names (g int, name varchar)`.
pub(crate) const NAMES: [(i64, &str); 6] =
    [(0, "a"), (1, "b"), (2, "c"), (3, "a"), (4, "b"), (4, "d")];

/// Views, each with its query and its rows according to the model.
pub(crate) type View = (&'static str, &'static str, fn(&World) -> Vec<String>);

pub(crate) const VIEWS: [View; 4] = [
    (
        "per_group",
        "select g, count(*) as n, sum(v) as s, max(id) as hi from t group by g",
        |world| {
            let mut groups: BTreeMap<i64, (i64, i64, i64)> = BTreeMap::new();
            for (id, (g, v)) in world.rows.now() {
                let (n, sum, max) = groups.entry(*g).or_default();
                (*n, *sum, *max) = (*n + 1, *sum + v, (*max).max(*id));
            }
            let groups = groups.into_iter();
            let text = groups.map(|(g, (n, sum, max))| format!("{g}|{n}|{sum}|{max}"));
            text.collect()
        },
    ),
    (
        "named",
        "select t.id, names.name from t join names on t.g = names.g",
        |world| {
            let named = named(world);
            named.map(|(id, name)| format!("{id}|{name}")).collect()
        },
    ),
    (
        "counted",
        "select name, count(*) as n from named group by name",
        |world| {
            let mut counts: BTreeMap<&str, i64> = BTreeMap::new();
            for (_, name) in named(world) {
                *counts.entry(name).or_default() += 1;
            }
            let counts = counts.into_iter();
            counts.map(|(name, n)| format!("{name}|{n}")).collect()
        },
    ),
    (
        "balance",
        "select n, sum(v) as v from (select n, v from a union all select n, -v from b) as both group by n",
        |world| {
            let (a, b) = world.accounts.now();
            let of_b = |n| b.get(n).copied().unwrap_or(0);
            let rows = a.iter().map(|(n, v)| format!("{n}|{}", v - of_b(n)));
            rows.collect()
        },
    ),
];

fn named(world: &World) -> impl Iterator<Item = (i64, &'static str)> {
    let rows = world.rows.now().iter();
    rows.flat_map(|(id, (g, _))| {
        let names = NAMES.iter().filter(move |(of, _)| of == g);
        names.map(|(_, name)| (*id, *name))
    })
}
