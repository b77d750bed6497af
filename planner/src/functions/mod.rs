//! PostgreSQL's functions and operators, where DataFusion has none or others.
//!
//! ```text
//!   query ─syntax─► calls ─operators─► calls by the types of operands ─coercion─► casts ─► plan
//! ```
//!
//! Each family is a file with a list of its functions; [`all`] is the list of families. They are
//! immutable (what depends on the time zone takes that of the session, and a view keeps the one it
//! was created in), so they work in batch queries and in views alike.

mod arrays;
pub(crate) mod casts;
mod date_arithmetic;
mod date_templates;
mod dates;
mod datum;
mod decimal;
mod encodings;
mod function;
mod json;
mod map_comparisons;
mod maps;
mod miscellaneous;
pub(crate) mod now;
mod number_templates;
mod numbers;
pub(crate) mod operators;
mod ordered_sets;
mod patterns;
mod random_uuid;
pub(crate) mod records;
mod row_syntax;
mod rows;
pub(crate) mod sort_keys;
mod string_agg;
mod strings;
pub(crate) mod sum;
pub(crate) mod syntax;

pub(crate) use map_comparisons::MapComparisons;
pub(crate) use random_uuid::random_uuid;
pub(crate) use string_agg::string_agg;

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{Expr, ScalarUDF};

/// Every function, by its name.
static FUNCTIONS: LazyLock<BTreeMap<String, Arc<ScalarUDF>>> = LazyLock::new(|| {
    let families = [
        arrays::functions(),
        date_arithmetic::functions(),
        date_templates::functions(),
        dates::functions(),
        encodings::functions(),
        json::functions(),
        maps::functions(),
        miscellaneous::functions(),
        number_templates::functions(),
        numbers::functions(),
        ordered_sets::functions(),
        patterns::functions(),
        records::functions(),
        strings::functions(),
    ];
    let functions = families
        .into_iter()
        .flatten()
        .map(function::Function::build);
    functions.map(|f| (f.name().to_owned(), f)).collect()
});

/// Every function.
pub(crate) fn all() -> impl Iterator<Item = &'static Arc<ScalarUDF>> {
    FUNCTIONS.values()
}

/// A call of one of our functions.
///
/// # Panics
/// If there is none of this name.
pub(crate) fn call(name: &str, args: Vec<Expr>) -> Expr {
    let function = Arc::clone(&FUNCTIONS[name]);
    Expr::ScalarFunction(ScalarFunction::new_udf(function, args))
}
