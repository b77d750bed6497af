//! Random queries over three tables, as trees that can be made smaller.
//!
//! Everything generated has one answer: what depends on an order is ordered by all columns, floats
//! do not occur, and numbers are too small to overflow.

use std::fmt;

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

/// Types of columns and expressions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    Int,
    Text,
    Bool,
    /// With two digits behind the point.
    Numeric,
    Timestamp,
    /// An array of integers.
    Ints,
    /// An object with a number `n` and a text `s`, or without. A column only.
    Json,
}

impl Type {
    /// As a column is declared.
    pub(crate) fn sql(self) -> &'static str {
        match self {
            Self::Int => "INT",
            Self::Text => "TEXT",
            Self::Bool => "BOOLEAN",
            Self::Numeric => "NUMERIC(8,2)",
            Self::Timestamp => "TIMESTAMP",
            Self::Ints => "INT[]",
            Self::Json => "JSONB",
        }
    }

    /// A value that is not NULL.
    pub(crate) fn value(self, random: &mut StdRng) -> String {
        let mut small = || random.random_range(0..7);
        match self {
            Self::Int => small().to_string(),
            Self::Text => ["'x'", "'yy'", "'Zz'", "''"][small() % 4].to_owned(),
            Self::Bool => ["true", "false"][small() % 2].to_owned(),
            Self::Numeric => format!("{}.{}{}", small(), small(), small()),
            Self::Timestamp => format!(
                "TIMESTAMP '2024-0{}-28 0{}:30:00'",
                1 + small() % 3,
                small()
            ),
            Self::Ints => match small() {
                0 => "ARRAY[]::int[]".to_owned(),
                n => format!("ARRAY[{n}, {}]", small()),
            },
            Self::Json => match small() {
                0 => "'{}'".to_owned(),
                1 => "'{\"n\": null, \"s\": \"x\"}'".to_owned(),
                n => format!("'{{\"n\": {n}, \"s\": \"y{n}\"}}'"),
            },
        }
    }
}

/// The tables, their columns, and what rows of theirs may hold.
pub(crate) const TABLES: [(&str, &[(&str, Type)]); 3] = [
    (
        "a",
        &[
            ("id", Type::Int),
            ("g", Type::Int),
            ("v", Type::Int),
            ("s", Type::Text),
            ("f", Type::Bool),
            ("p", Type::Numeric),
            ("at", Type::Timestamp),
            ("j", Type::Json),
        ],
    ),
    (
        "b",
        &[
            ("id", Type::Int),
            ("g", Type::Int),
            ("w", Type::Int),
            ("t", Type::Text),
            ("q", Type::Numeric),
            ("xs", Type::Ints),
        ],
    ),
    (
        "c",
        &[
            ("k", Type::Int),
            ("name", Type::Text),
            ("n", Type::Int),
            ("since", Type::Timestamp),
        ],
    ),
];

/// An expression: text with a `{}` for each argument.
#[derive(Clone, Debug)]
pub(crate) struct Expr {
    pub(crate) type_: Type,
    template: String,
    args: Vec<Arg>,
}

#[derive(Clone, Debug)]
enum Arg {
    Expr(Expr),
    Query(Query),
}

/// A query with named outputs.
#[derive(Clone, Debug)]
pub(crate) enum Query {
    Select(Box<Select>),
    /// `UNION`, `INTERSECT` or `EXCEPT` of queries with equal columns.
    Set {
        operator: &'static str,
        left: Box<Query>,
        right: Box<Query>,
    },
    /// The first rows in the order of all columns.
    First {
        query: Box<Query>,
        limit: usize,
        offset: usize,
    },
}

#[derive(Clone, Debug)]
pub(crate) struct Select {
    distinct: bool,
    items: Vec<Expr>,
    from: From,
    filter: Option<Expr>,
    group: Option<Group>,
}

#[derive(Clone, Debug)]
struct Group {
    keys: Vec<Expr>,
    sets: &'static str,
    having: Option<Expr>,
}

#[derive(Clone, Debug)]
enum From {
    Table(usize, String),
    Query(Box<Query>, String),
    Join {
        left: Box<From>,
        kind: &'static str,
        right: Box<From>,
        on: Option<Expr>,
    },
}

/// Columns that an expression may name.
type Scope = Vec<(String, Type)>;

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut args = self.args.iter();
        for (at, text) in self.template.split("{}").enumerate() {
            if at > 0 {
                match args.next() {
                    Some(Arg::Expr(expr)) => write!(f, "{expr}")?,
                    Some(Arg::Query(query)) => write!(f, "{query}")?,
                    None => return Err(fmt::Error),
                }
            }
            f.write_str(text)?;
        }
        Ok(())
    }
}

impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Select(select) => write!(f, "{select}"),
            Self::Set {
                operator,
                left,
                right,
            } => write!(f, "({left}) {operator} ({right})"),
            Self::First {
                query,
                limit,
                offset,
            } => {
                let columns = 1..=query.types().len();
                let order: Vec<String> = columns.map(|at| format!("c{at}")).collect();
                let order = order.join(", ");
                write!(
                    f,
                    "SELECT * FROM ({query}) x ORDER BY {order} LIMIT {limit} OFFSET {offset}"
                )
            }
        }
    }
}

impl fmt::Display for Select {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let items = self.items.iter().enumerate();
        let items: Vec<String> = items
            .map(|(at, item)| format!("{item} AS c{}", at + 1))
            .collect();
        let distinct = if self.distinct { "DISTINCT " } else { "" };
        write!(
            f,
            "SELECT {distinct}{} FROM {}",
            items.join(", "),
            self.from
        )?;
        if let Some(filter) = &self.filter {
            write!(f, " WHERE {filter}")?;
        }
        let Some(group) = &self.group else {
            return Ok(());
        };
        if !group.keys.is_empty() {
            let keys: Vec<String> = group.keys.iter().map(ToString::to_string).collect();
            let keys = keys.join(", ");
            match group.sets {
                "" => write!(f, " GROUP BY {keys}")?,
                sets => write!(f, " GROUP BY {sets} ({keys})")?,
            }
        }
        match &group.having {
            Some(having) => write!(f, " HAVING {having}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for From {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Table(table, alias) => write!(f, "{} {alias}", TABLES[*table].0),
            Self::Query(query, alias) => write!(f, "({query}) {alias}"),
            Self::Join {
                left,
                kind,
                right,
                on,
            } => {
                write!(f, "{left} {kind} {right}")?;
                match on {
                    Some(on) => write!(f, " ON {on}"),
                    None => Ok(()),
                }
            }
        }
    }
}

impl Query {
    /// A random query.
    pub(crate) fn random(random: &mut StdRng) -> Self {
        Writer { random, aliases: 0 }.query(2)
    }

    fn types(&self) -> Vec<Type> {
        match self {
            Self::Select(select) => select.items.iter().map(|item| item.type_).collect(),
            Self::Set { left, .. } => left.types(),
            Self::First { query, .. } => query.types(),
        }
    }

    /// Smaller queries of the same shape or less, the smallest first.
    pub(crate) fn smaller(&self) -> Vec<Self> {
        let mut smaller = match self {
            Self::Select(select) => {
                let selects = select.smaller().into_iter();
                selects
                    .map(|select| Self::Select(Box::new(select)))
                    .collect()
            }
            Self::Set {
                operator,
                left,
                right,
            } => {
                let mut all = vec![left.as_ref().clone(), right.as_ref().clone()];
                let with = |left: &Self, right: &Self| Self::Set {
                    operator,
                    left: Box::new(left.clone()),
                    right: Box::new(right.clone()),
                };
                let keeps = |query: &Self, like: &Self| query.types() == like.types();
                let lefts = left
                    .smaller()
                    .into_iter()
                    .filter(|query| keeps(query, left));
                all.extend(lefts.map(|left| with(&left, right)));
                let rights = right
                    .smaller()
                    .into_iter()
                    .filter(|query| keeps(query, right));
                all.extend(rights.map(|right| with(left, &right)));
                all
            }
            Self::First {
                query,
                limit,
                offset,
            } => {
                let mut all = vec![query.as_ref().clone()];
                all.extend(query.smaller().into_iter().map(|query| Self::First {
                    query: Box::new(query),
                    limit: *limit,
                    offset: *offset,
                }));
                all
            }
        };
        smaller.sort_by_key(|query| query.to_string().len());
        smaller
    }
}

impl Select {
    fn smaller(&self) -> Vec<Self> {
        let mut all = Vec::new();
        let mut with = |change: &dyn Fn(&mut Self)| {
            let mut smaller = self.clone();
            change(&mut smaller);
            all.push(smaller);
        };
        if self.items.len() > 1 {
            for at in 0..self.items.len() {
                with(&|select| {
                    select.items.remove(at);
                });
            }
        }
        with(&|select| select.filter = None);
        with(&|select| select.distinct = false);
        for (at, item) in self.items.iter().enumerate() {
            for smaller in item.smaller() {
                with(&|select| select.items[at] = smaller.clone());
            }
        }
        for smaller in self.filter.iter().flat_map(Expr::smaller) {
            with(&|select| select.filter = Some(smaller.clone()));
        }
        for smaller in self.from.smaller() {
            with(&|select| select.from = smaller.clone());
        }
        if let Some(group) = &self.group {
            with(&|select| select.group = None);
            for at in 0..group.keys.len() {
                with(&|select| {
                    if let Some(group) = &mut select.group {
                        group.keys.remove(at);
                    }
                });
            }
            with(&|select| {
                if let Some(group) = &mut select.group {
                    group.having = None;
                    group.sets = "";
                }
            });
        }
        let size = self.to_string().len();
        all.retain(|smaller| smaller.to_string().len() < size);
        all
    }
}

impl From {
    fn smaller(&self) -> Vec<Self> {
        match self {
            Self::Table(..) => Vec::new(),
            Self::Query(query, alias) => {
                let smaller = query.smaller().into_iter();
                smaller
                    .map(|query| Self::Query(Box::new(query), alias.clone()))
                    .collect()
            }
            Self::Join {
                left,
                kind,
                right,
                on,
            } => {
                let mut all = vec![left.as_ref().clone(), right.as_ref().clone()];
                let with = |left: &Self, right: &Self, on: Option<Expr>| Self::Join {
                    left: Box::new(left.clone()),
                    kind,
                    right: Box::new(right.clone()),
                    on,
                };
                all.extend(
                    left.smaller()
                        .iter()
                        .map(|left| with(left, right, on.clone())),
                );
                all.extend(
                    right
                        .smaller()
                        .iter()
                        .map(|right| with(left, right, on.clone())),
                );
                let ons = on.iter().flat_map(Expr::smaller);
                all.extend(ons.map(|on| with(left, right, Some(on))));
                all
            }
        }
    }
}

impl Expr {
    fn new(type_: Type, template: impl Into<String>, args: Vec<Expr>) -> Self {
        Self {
            type_,
            template: template.into(),
            args: args.into_iter().map(Arg::Expr).collect(),
        }
    }

    /// Its parts of the same type, and itself with smaller parts.
    fn smaller(&self) -> Vec<Self> {
        let mut all = Vec::new();
        for (at, arg) in self.args.iter().enumerate() {
            let with = |arg: Arg| {
                let mut smaller = self.clone();
                smaller.args[at] = arg;
                smaller
            };
            match arg {
                Arg::Expr(expr) => {
                    if expr.type_ == self.type_ {
                        all.push(expr.clone());
                    }
                    all.extend(expr.smaller().into_iter().map(|expr| with(Arg::Expr(expr))));
                }
                Arg::Query(query) => {
                    let smaller = query.smaller().into_iter();
                    all.extend(smaller.map(|query| with(Arg::Query(query))));
                }
            }
        }
        all
    }
}

/// Writes random queries.
struct Writer<'a> {
    random: &'a mut StdRng,
    aliases: usize,
}

impl Writer<'_> {
    fn chance(&mut self, percent: u32) -> bool {
        self.random.random_range(0..100) < percent
    }

    fn choose<T: Copy>(&mut self, of: &[T]) -> T {
        *of.choose(self.random).expect("something to choose from")
    }

    fn alias(&mut self) -> String {
        self.aliases += 1;
        format!("t{}", self.aliases)
    }

    fn query(&mut self, depth: usize) -> Query {
        match self.random.random_range(0..10) {
            0 if depth > 0 => {
                let left = self.select(depth - 1);
                let types: Vec<Type> = left.items.iter().map(|item| item.type_).collect();
                let right = self.select_of(depth - 1, Some(&types));
                Query::Set {
                    operator: self.choose(&["UNION", "UNION ALL", "INTERSECT", "EXCEPT"]),
                    left: Box::new(Query::Select(Box::new(left))),
                    right: Box::new(Query::Select(Box::new(right))),
                }
            }
            1 if depth > 0 => Query::First {
                query: Box::new(self.query(depth - 1)),
                limit: self.random.random_range(1..6),
                offset: self.random.random_range(0..3),
            },
            _ => Query::Select(Box::new(self.select(depth))),
        }
    }

    fn select(&mut self, depth: usize) -> Select {
        self.select_of(depth, None)
    }

    fn select_of(&mut self, depth: usize, types: Option<&[Type]>) -> Select {
        let (from, scope) = self.from(depth);
        let filter = self.chance(50).then(|| self.condition(&scope, depth));
        let wanted: Vec<Option<Type>> = match types {
            Some(types) => types.iter().copied().map(Some).collect(),
            None => vec![None; self.random.random_range(1..5)],
        };
        if types.is_none() && self.chance(35) {
            return self.grouped(from, &scope, filter);
        }
        let with_windows = types.is_none() && self.chance(20);
        // Which of two equal rows comes first is anyone's choice, so only one column may show it.
        let mut tells_rows_apart = false;
        let items = wanted.into_iter().map(|type_| {
            if with_windows && self.chance(50) {
                return self.window(&scope, &mut tells_rows_apart);
            }
            let type_ = type_.unwrap_or_else(|| self.type_());
            self.expr(type_, &scope, 2)
        });
        let items = items.collect();
        Select {
            distinct: self.chance(15),
            items,
            from,
            filter,
            group: None,
        }
    }

    fn grouped(&mut self, from: From, scope: &Scope, filter: Option<Expr>) -> Select {
        let mut keys: Vec<Expr> = Vec::new();
        for _ in 0..self.random.random_range(0..3) {
            let (name, type_) = self.column(scope);
            if keys.iter().all(|key| key.template != name) {
                keys.push(Expr::new(type_, name, Vec::new()));
            }
        }
        let mut items = keys.clone();
        for _ in 0..self.random.random_range(1..4) {
            items.push(self.aggregate(scope));
        }
        let having = self.chance(20).then(|| {
            let count = Expr::new(Type::Int, "count(*)", Vec::new());
            Expr::new(Type::Bool, "{} > 1", vec![count])
        });
        let sets = match self.chance(15) && !keys.is_empty() {
            true => self.choose(&["ROLLUP", "CUBE"]),
            false => "",
        };
        Select {
            distinct: false,
            items,
            from,
            filter,
            group: Some(Group { keys, sets, having }),
        }
    }

    fn aggregate(&mut self, scope: &Scope) -> Expr {
        let int = |writer: &mut Self| writer.expr(Type::Int, scope, 1);
        match self.random.random_range(0..13) {
            0 => Expr::new(Type::Int, "count(*)", Vec::new()),
            9 => {
                let of = self.expr(Type::Numeric, scope, 1);
                Expr::new(Type::Numeric, "sum({})", vec![of])
            }
            10 => {
                let of = self.expr(Type::Timestamp, scope, 1);
                Expr::new(Type::Timestamp, "max({})", vec![of])
            }
            11 => {
                let (name, _) = self.column_of(scope, Type::Int);
                let text = format!("array_agg({name} ORDER BY {name})");
                Expr::new(Type::Ints, text, Vec::new())
            }
            12 => {
                let of = self.expr(Type::Numeric, scope, 1);
                Expr::new(Type::Text, "CAST(round(avg({}), 4) AS TEXT)", vec![of])
            }
            1 => Expr::new(Type::Int, "count({})", vec![int(self)]),
            2 => Expr::new(Type::Int, "sum({})", vec![int(self)]),
            3 => Expr::new(Type::Int, "min({})", vec![int(self)]),
            4 => {
                let text = self.expr(Type::Text, scope, 1);
                Expr::new(Type::Text, "max({})", vec![text])
            }
            5 => Expr::new(Type::Int, "count(DISTINCT {})", vec![int(self)]),
            6 => {
                let (of, condition) = (int(self), self.expr(Type::Bool, scope, 1));
                Expr::new(Type::Int, "sum({}) FILTER (WHERE {})", vec![of, condition])
            }
            7 => {
                let of = self.expr(Type::Bool, scope, 1);
                Expr::new(Type::Bool, "bool_or({})", vec![of])
            }
            _ => {
                let (name, _) = self.column_of(scope, Type::Text);
                Expr::new(
                    Type::Text,
                    format!("string_agg({name}, ',' ORDER BY {name})"),
                    Vec::new(),
                )
            }
        }
    }

    fn window(&mut self, scope: &Scope, tells_rows_apart: &mut bool) -> Expr {
        let (partition, _) = self.column(scope);
        let (order, _) = self.column(scope);
        let ordered = scope.iter().map(|(name, type_)| match type_ {
            Type::Json => format!("CAST({name} AS TEXT)"),
            _ => name.clone(),
        });
        let all: Vec<String> = ordered.collect();
        let all = all.join(", ");
        let (int, _) = self.column_of(scope, Type::Int);
        let functions = if *tells_rows_apart { 4 } else { 7 };
        let function = self.random.random_range(0..functions);
        *tells_rows_apart |= function >= 4;
        let text = match function {
            0 => format!("rank() OVER (PARTITION BY {partition} ORDER BY {order})"),
            1 => format!("dense_rank() OVER (ORDER BY {order} DESC)"),
            2 => format!("sum({int}) OVER (PARTITION BY {partition} ORDER BY {order})"),
            3 => format!("count(*) OVER (PARTITION BY {partition})"),
            4 => format!("row_number() OVER (PARTITION BY {partition} ORDER BY {all})"),
            5 => format!("lag({int}) OVER (PARTITION BY {partition} ORDER BY {all})"),
            _ => format!(
                "max({int}) OVER (PARTITION BY {partition} ORDER BY {all} \
                 ROWS BETWEEN 1 PRECEDING AND 1 FOLLOWING)"
            ),
        };
        Expr::new(Type::Int, text, Vec::new())
    }

    fn from(&mut self, depth: usize) -> (From, Scope) {
        if depth == 0 || self.chance(55) {
            return self.relation(depth);
        }
        let (left, mut scope) = self.relation(depth - 1);
        let (right, right_scope) = self.relation(depth - 1);
        let kind = self.choose(&[
            "JOIN",
            "JOIN",
            "LEFT JOIN",
            "RIGHT JOIN",
            "FULL JOIN",
            "CROSS JOIN",
        ]);
        let on = (kind != "CROSS JOIN").then(|| {
            let (left, _) = self.column_of(&scope, Type::Int);
            let (right, _) = self.column_of(&right_scope, Type::Int);
            let equal = format!("{left} = {right}");
            // PostgreSQL has full joins by equality only.
            let equal = match self.chance(15) && kind != "FULL JOIN" {
                true => format!("{left} < {right}"),
                false => equal,
            };
            if self.chance(25) && kind != "FULL JOIN" {
                let both: Scope = scope.iter().chain(&right_scope).cloned().collect();
                let residual = self.expr(Type::Bool, &both, 1);
                return Expr::new(Type::Bool, format!("{equal} AND {{}}"), vec![residual]);
            }
            Expr::new(Type::Bool, equal, Vec::new())
        });
        scope.extend(right_scope);
        let join = From::Join {
            left: Box::new(left),
            kind,
            right: Box::new(right),
            on,
        };
        (join, scope)
    }

    fn relation(&mut self, depth: usize) -> (From, Scope) {
        let alias = self.alias();
        if depth > 0 && self.chance(25) {
            let query = self.query(depth - 1);
            let types = query.types().into_iter().enumerate();
            let mut scope: Scope = types
                .map(|(at, type_)| (format!("{alias}.c{}", at + 1), type_))
                .collect();
            let has = |wanted: Type| scope.iter().any(|(_, type_)| *type_ == wanted);
            if has(Type::Int) && has(Type::Text) {
                return (From::Query(Box::new(query), alias), scope);
            }
            scope.clear();
        }
        let table = self.random.random_range(0..TABLES.len());
        let columns = TABLES[table].1.iter();
        let scope = columns
            .map(|(name, type_)| (format!("{alias}.{name}"), *type_))
            .collect();
        (From::Table(table, alias), scope)
    }

    /// A column that rows can be ordered and grouped by.
    fn column(&mut self, scope: &Scope) -> (String, Type) {
        let has_order = |(_, type_): &&(String, Type)| *type_ != Type::Json;
        let ordered: Vec<_> = scope.iter().filter(has_order).collect();
        let column = ordered.choose(self.random);
        (*column.expect("a relation has columns")).clone()
    }

    fn column_of(&mut self, scope: &Scope, wanted: Type) -> (String, Type) {
        let fitting: Vec<_> = scope.iter().filter(|(_, type_)| *type_ == wanted).collect();
        let column = fitting.choose(self.random);
        (*column.expect("a relation has such a column")).clone()
    }

    fn type_(&mut self) -> Type {
        self.choose(&[
            Type::Int,
            Type::Int,
            Type::Text,
            Type::Bool,
            Type::Numeric,
            Type::Timestamp,
            Type::Ints,
        ])
    }

    /// What a `WHERE` may say.
    fn condition(&mut self, scope: &Scope, depth: usize) -> Expr {
        if depth == 0 || self.chance(60) {
            return self.expr(Type::Bool, scope, 2);
        }
        let (outer, _) = self.column_of(scope, Type::Int);
        let alias = self.alias();
        let table = self.random.random_range(0..TABLES.len());
        let columns = TABLES[table].1.iter();
        let inner: Scope = columns
            .map(|(name, type_)| (format!("{alias}.{name}"), *type_))
            .collect();
        let (key, _) = self.column_of(&inner, Type::Int);
        let filter = self.chance(40).then(|| self.expr(Type::Bool, &inner, 1));
        let (form, type_) = self.choose(&[
            ("{o} IN ({})", "in"),
            ("{o} NOT IN ({})", "in"),
            ("EXISTS ({})", "exists"),
            ("NOT EXISTS ({})", "exists"),
            ("{o} >= ({})", "scalar"),
            ("{o} > ({})", "lone scalar"),
        ]);
        let correlation = || Expr::new(Type::Bool, format!("{key} = {outer}"), Vec::new());
        let both = |filter: Option<Expr>| match filter {
            None => correlation(),
            Some(filter) => Expr::new(Type::Bool, "{} AND {}", vec![correlation(), filter]),
        };
        let (item, filter) = match type_ {
            "in" => (key.clone(), filter),
            "exists" => ("1".to_owned(), Some(both(filter))),
            "scalar" => (format!("min({key})"), Some(both(filter))),
            _ => (format!("min({key})"), filter),
        };
        let query = Query::Select(Box::new(Select {
            distinct: false,
            items: vec![Expr::new(Type::Int, item, Vec::new())],
            from: From::Table(table, alias),
            filter,
            group: None,
        }));
        Expr {
            type_: Type::Bool,
            template: form.replace("{o}", &outer),
            args: vec![Arg::Query(query)],
        }
    }

    fn expr(&mut self, type_: Type, scope: &Scope, depth: usize) -> Expr {
        if depth == 0 || self.chance(35) {
            return self.leaf(type_, scope);
        }
        let has_json = scope.iter().any(|(_, known)| *known == Type::Json);
        if has_json && self.chance(10) {
            let (column, _) = self.column_of(scope, Type::Json);
            match type_ {
                Type::Int => {
                    return Expr::new(type_, format!("({column} ->> 'n')::int"), Vec::new());
                }
                Type::Text => return Expr::new(type_, format!("({column} ->> 's')"), Vec::new()),
                Type::Bool => {
                    let template = format!("({column} @> jsonb_build_object('n', {{}}))");
                    let number = self.leaf(Type::Int, scope);
                    return Expr::new(type_, template, vec![number]);
                }
                _ => {}
            }
        }
        let (template, types) = self.choose(templates(type_));
        let args = types
            .iter()
            .map(|&type_| self.expr(type_, scope, depth - 1))
            .collect();
        Expr::new(type_, template, args)
    }

    fn leaf(&mut self, type_: Type, scope: &Scope) -> Expr {
        let has = scope.iter().any(|(_, known)| *known == type_);
        if has && self.chance(80) {
            let (name, type_) = self.column_of(scope, type_);
            return Expr::new(type_, name, Vec::new());
        }
        let text = match type_ {
            Type::Int => self.random.random_range(-2..9).to_string(),
            other => other.value(self.random),
        };
        Expr::new(type_, text, Vec::new())
    }
}

/// What expressions of a type are made of.
fn templates(type_: Type) -> &'static [(&'static str, &'static [Type])] {
    use Type::{Bool, Int, Ints, Json, Numeric, Text, Timestamp};
    match type_ {
        Int => &[
            ("({} + {})", &[Int, Int]),
            ("({} - {})", &[Int, Int]),
            ("coalesce({}, {})", &[Int, Int]),
            ("CASE WHEN {} THEN {} ELSE {} END", &[Bool, Int, Int]),
            ("length({})", &[Text]),
            ("nullif({}, {})", &[Int, Int]),
            ("({} % 3)", &[Int]),
            ("greatest({}, {})", &[Int, Int]),
            ("CAST(floor({}) AS INT)", &[Numeric]),
            ("CAST(extract(month FROM {}) AS INT)", &[Timestamp]),
            ("cardinality({})", &[Ints]),
            ("({})[1]", &[Ints]),
        ],
        Text => &[
            ("({} || {})", &[Text, Text]),
            ("upper({})", &[Text]),
            ("coalesce({}, {})", &[Text, Text]),
            ("CASE WHEN {} THEN {} END", &[Bool, Text]),
            ("left({}, 1)", &[Text]),
            ("substring({} FROM 2)", &[Text]),
            ("CAST({} AS TEXT)", &[Int]),
            ("CAST({} AS TEXT)", &[Numeric]),
            ("CAST({} AS TEXT)", &[Ints]),
            ("to_char({}, 'YYYY-MM-DD HH24')", &[Timestamp]),
            ("replace({}, 'x', 'zz')", &[Text]),
        ],
        Bool => &[
            ("({} AND {})", &[Bool, Bool]),
            ("({} OR {})", &[Bool, Bool]),
            ("NOT ({})", &[Bool]),
            ("({} < {})", &[Int, Int]),
            ("({} IS NULL)", &[Text]),
            ("({} BETWEEN 1 AND {})", &[Int, Int]),
            ("({} IN (1, 3, {}))", &[Int, Int]),
            ("({} >= {})", &[Numeric, Numeric]),
            ("({} < {})", &[Timestamp, Timestamp]),
            ("({} = ANY({}))", &[Int, Ints]),
            ("({} = {})", &[Ints, Ints]),
            ("({} LIKE '%y%')", &[Text]),
            ("({} IS DISTINCT FROM {})", &[Text, Text]),
        ],
        Numeric => &[
            ("({} + {})", &[Numeric, Numeric]),
            ("({} - {})", &[Numeric, Numeric]),
            ("abs({})", &[Numeric]),
            ("coalesce({}, {})", &[Numeric, Numeric]),
            ("CASE WHEN {} THEN {} END", &[Bool, Numeric]),
            ("least({}, {})", &[Numeric, Numeric]),
        ],
        Timestamp => &[
            ("date_trunc('month', {})", &[Timestamp]),
            ("({} + INTERVAL '1 month')", &[Timestamp]),
            ("({} - {} * INTERVAL '1 day')", &[Timestamp, Int]),
            ("coalesce({}, {})", &[Timestamp, Timestamp]),
            ("CASE WHEN {} THEN {} END", &[Bool, Timestamp]),
        ],
        Ints => &[
            ("({} || {})", &[Ints, Ints]),
            ("array_append({}, {})", &[Ints, Int]),
            ("array_remove({}, {})", &[Ints, Int]),
            ("coalesce({}, {})", &[Ints, Ints]),
            ("ARRAY[{}, {}]", &[Int, Int]),
        ],
        Json => &[],
    }
}
