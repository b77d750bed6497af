//! The types of system columns as clients are told them. To plans a `name` and a `"char"` are
//! text and an `oidvector` is an array; drivers choose their codecs by the types below.

use planner::values::types::SqlType;

use crate::pg_catalog::INFORMATION_SCHEMA;
use crate::pg_catalog::table::Type;
use crate::wire::column::WireColumn;

/// Oid and size of `name`.
const NAME: (u32, i16) = (19, 64);
/// Oid and size of `"char"`.
const CHAR: (u32, i16) = (18, 1);
/// Oid and size of `int2vector`.
const INT2_VECTOR: (u32, i16) = (22, -1);
/// Oid and size of `oidvector`.
const OID_VECTOR: (u32, i16) = (30, -1);
/// Oid and size of `regproc`.
const REGPROC: (u32, i16) = (24, 4);
/// Oid and size of `pg_node_tree`.
const NODE_TREE: (u32, i16) = (194, -1);
/// Oid and size of `aclitem[]`.
const ACL: (u32, i16) = (1034, -1);
/// Oid and size of `character varying`.
const VARCHAR: (u32, i16) = (1043, -1);

/// How a system column is described.
pub(super) fn wire_column(schema: &str, name: &str, data_type: Type) -> WireColumn {
    let plain = WireColumn::of_type(&SqlType::of(&data_type.arrow()));
    let special = match data_type {
        Type::Text if schema == INFORMATION_SCHEMA => Some(information_type(name)),
        Type::Text => text_type(name),
        Type::Int2s if name.starts_with("ind") => Some(INT2_VECTOR),
        Type::Oids if name.starts_with("ind") || name == "proargtypes" => Some(OID_VECTOR),
        Type::Texts if name.ends_with("acl") => Some(ACL),
        _ => None,
    };
    special.map_or(plain, |(type_oid, value_bytes)| WireColumn {
        type_oid,
        value_bytes,
        ..plain
    })
}

fn text_type(column: &str) -> Option<(u32, i16)> {
    match column {
        "name" | "application_name" => None,
        "tableowner" | "viewowner" | "matviewowner" | "tablespace" | "enumlabel" | "evtevent" => {
            Some(NAME)
        }
        "aggkind" | "amtype" | "attalign" | "attcompression" | "attgenerated" | "attidentity"
        | "attstorage" | "castcontext" | "castmethod" | "collprovider" | "confdeltype"
        | "confmatchtype" | "confupdtype" | "contype" | "datlocprovider" | "defaclobjtype"
        | "deptype" | "ev_enabled" | "ev_type" | "evtenabled" | "oprkind" | "partstrat"
        | "polcmd" | "prokind" | "proparallel" | "provolatile" | "relkind" | "relpersistence"
        | "relreplident" | "tgenabled" | "typalign" | "typcategory" | "typdelim" | "typstorage"
        | "typtype" => Some(CHAR),
        "amhandler" | "typanalyze" | "typinput" | "typmodin" | "typmodout" | "typoutput"
        | "typreceive" | "typsend" | "typsubscript" | "prosupport" | "rngcanonical"
        | "rngsubdiff" => Some(REGPROC),
        "adbin" | "conbin" | "ev_action" | "ev_qual" | "indexprs" | "indpred" | "polqual"
        | "polwithcheck" | "prqual" | "relpartbound" | "typdefaultbin" | "tgqual" => {
            Some(NODE_TREE)
        }
        column if column.ends_with("name") => Some(NAME),
        _ => None,
    }
}

/// Names are `name`; what is said of them is `character varying`.
fn information_type(column: &str) -> (u32, i16) {
    let is_name = column.ends_with("_name")
        || column.ends_with("_schema")
        || column.ends_with("_catalog")
        || matches!(
            column,
            "grantor" | "grantee" | "schema_owner" | "dtd_identifier"
        );
    if is_name { NAME } else { VARCHAR }
}
