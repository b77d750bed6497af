//! Functions that belong to no other family.

use crate::functions::datum::Datum;
use crate::functions::function::{Function, Param, function};
use crate::values::types::SqlType::Int4;

/// The functions of this family.
pub(crate) fn functions() -> Vec<Function> {
    vec![
        function("num_nulls")
            .on([Param::Any], Int4, |_, a| Ok(count(a, Datum::is_null)))
            .variadic()
            .sees_nulls(),
        function("num_nonnulls")
            .on([Param::Any], Int4, |_, a| {
                Ok(count(a, |value| !value.is_null()))
            })
            .variadic()
            .sees_nulls(),
    ]
}

fn count<'a>(args: &[Datum<'a>], counts: impl Fn(&Datum<'a>) -> bool) -> Datum<'a> {
    let counted = args.iter().filter(|arg| counts(arg)).count();
    Datum::Int(i64::try_from(counted).unwrap_or(i64::MAX))
}
