//! `nextval`, `currval`, `setval`, `lastval`, `pg_get_serial_sequence`.

use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{Array, ArrayRef, Int64Array};
use arrow::datatypes::DataType;
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use crate::access::actor::Actor;
use crate::access::privilege::Privileges;
use crate::catalog::{Entry, Kind};
use crate::error::Error;
use crate::pg_catalog::function::{Arg, Returned, arg, as_texts, external, make};
use crate::pg_catalog::functions::{Scope, relation_oid};
use crate::pg_catalog::relations::quoted;
use crate::sequence::{LastNumbers, definition};
use crate::server::Shared;
use crate::session::lock;
use crate::settings::Settings;

/// What setting a sequence needs.
const SETS: &[Privileges] = &[Privileges::UPDATE];

/// What the functions of a session share.
#[derive(Clone)]
struct Context {
    shared: Arc<Shared>,
    settings: Arc<Mutex<Settings>>,
    last: Arc<Mutex<LastNumbers>>,
}

/// The functions of one session.
pub(crate) fn of_session(
    shared: &Arc<Shared>,
    settings: &Arc<Mutex<Settings>>,
    last: &Arc<Mutex<LastNumbers>>,
) -> Vec<ScalarUDF> {
    let context = Context {
        shared: Arc::clone(shared),
        settings: Arc::clone(settings),
        last: Arc::clone(last),
    };
    let with = |body: fn(&Context, &[Arg<'_>]) -> crate::error::Result<Returned>| {
        let context = context.clone();
        move |args: &[Arg<'_>]| body(&context, args).map_err(external)
    };
    let volatile = Volatility::Volatile;
    vec![
        ScalarUDF::from(NextVal {
            context: context.clone(),
            signature: Signature::any(1, volatile),
        }),
        make("currval", DataType::Int64, volatile, with(currval)),
        make("lastval", DataType::Int64, volatile, with(lastval)),
        make("setval", DataType::Int64, volatile, with(setval)),
        make(
            "pg_get_serial_sequence",
            DataType::Utf8,
            Volatility::Stable,
            with(serial_sequence),
        ),
    ]
}

impl Context {
    /// A sequence of which the session has one of these privileges.
    fn sequence(&self, name: &str, wanted: &[Privileges]) -> crate::error::Result<Arc<Entry>> {
        let catalog = Scope::of(&self.shared, &self.settings);
        let undefined = || Error::UndefinedRelation {
            name: name.to_owned(),
        };
        let oid = relation_oid(&catalog, name).ok_or_else(undefined)?;
        let entry = u32::try_from(oid).ok().and_then(|oid| catalog.by_id(oid));
        let entry = Arc::clone(entry.ok_or_else(undefined)?);
        definition(&entry)?;
        // Who may insert into a table takes the numbers of its identity.
        if !catalog.is_identity(&entry) || wanted == SETS {
            let role = lock(&self.settings).current_user().id;
            let catalog = &catalog;
            Actor { catalog, role }.check_any(&entry, wanted)?;
        }
        Ok(entry)
    }

    fn last(&self) -> std::sync::MutexGuard<'_, LastNumbers> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self, name: &str, count: usize) -> crate::error::Result<Vec<i64>> {
        let entry = self.sequence(name, &[Privileges::USAGE, Privileges::UPDATE])?;
        let numbers = self.shared.sequences.next(&entry, count)?;
        if let Some(&number) = numbers.last() {
            self.last().note(entry.id, number);
        }
        Ok(numbers)
    }
}

/// `nextval(regclass)`: a number for each row, also where the argument is the same for all.
struct NextVal {
    context: Context,
    signature: Signature,
}

impl std::fmt::Debug for NextVal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NextVal").finish_non_exhaustive()
    }
}

// A session has one of them.
impl PartialEq for NextVal {
    fn eq(&self, other: &NextVal) -> bool {
        Arc::ptr_eq(&self.context.last, &other.context.last)
    }
}

impl Eq for NextVal {}

impl Hash for NextVal {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name().hash(state);
    }
}

impl ScalarUDFImpl for NextVal {
    fn name(&self) -> &str {
        "nextval"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Int64)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = args.number_rows;
        let names = as_texts(&args.args[0], rows)?;
        let is_one = matches!(args.args[0], ColumnarValue::Scalar(_));
        let numbers: ArrayRef = if is_one && rows > 0 && names.is_valid(0) {
            let numbers = self.context.next(names.value(0), rows).map_err(external)?;
            Arc::new(Int64Array::from(numbers))
        } else {
            let next = |name: Option<&str>| match name {
                Some(name) => Ok(self.context.next(name, 1).map_err(external)?.pop()),
                None => Ok(None),
            };
            Arc::new(names.iter().map(next).collect::<Result<Int64Array>>()?)
        };
        Ok(ColumnarValue::Array(numbers))
    }
}

fn currval(context: &Context, args: &[Arg<'_>]) -> crate::error::Result<Returned> {
    let Some(name) = arg(args, 0) else {
        return Ok(Returned::Null);
    };
    let entry = context.sequence(name, &[Privileges::USAGE, Privileges::SELECT])?;
    let number = context.last().of(entry.id);
    let number = number.ok_or_else(|| Error::NoLastNumber {
        message: format!(
            "currval of sequence \"{}\" is not yet defined in this session",
            entry.name
        ),
    })?;
    Ok(number.into())
}

fn lastval(context: &Context, _args: &[Arg<'_>]) -> crate::error::Result<Returned> {
    let number = context.last().last().ok_or_else(|| Error::NoLastNumber {
        message: "lastval is not yet defined in this session".to_owned(),
    })?;
    Ok(number.into())
}

fn setval(context: &Context, args: &[Arg<'_>]) -> crate::error::Result<Returned> {
    let number = arg(args, 1).and_then(|text| text.parse::<i64>().ok());
    let (Some(name), Some(number)) = (arg(args, 0), number) else {
        return Ok(Returned::Null);
    };
    let is_given = arg(args, 2) != Some("false");
    let entry = context.sequence(name, SETS)?;
    context.shared.sequences.set(&entry, number, is_given)?;
    if is_given {
        context.last().set(entry.id, number);
    }
    Ok(number.into())
}

fn serial_sequence(context: &Context, args: &[Arg<'_>]) -> crate::error::Result<Returned> {
    let (Some(table), Some(column)) = (arg(args, 0), arg(args, 1)) else {
        return Ok(Returned::Null);
    };
    let catalog = Scope::of(&context.shared, &context.settings);
    let oid = relation_oid(&catalog, table).and_then(|oid| u32::try_from(oid).ok());
    let entry = oid
        .and_then(|oid| catalog.by_id(oid))
        .ok_or_else(|| Error::UndefinedRelation {
            name: table.to_owned(),
        })?;
    let at = entry.column(column).ok_or_else(|| Error::UndefinedColumn {
        column: column.to_owned(),
        relation: entry.name.clone(),
    })?;
    let owner = Some((entry.id, at));
    let owned = catalog.entries().find(|entry| match &entry.kind {
        Kind::Sequence(sequence) => sequence.owner == owner,
        _ => false,
    });
    Ok(owned
        .map(|entry| format!("{}.{}", quoted(&entry.schema_name), quoted(&entry.name)))
        .into())
}
