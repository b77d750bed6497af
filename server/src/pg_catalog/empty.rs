//! Tables about objects that we do not have. They exist, with their columns, so that clients that
//! ask for such objects learn that there are none.

use crate::pg_catalog::table::{SystemTable, Type as T, no_rows};

const fn empty(oid: u32, name: &'static str, columns: &'static [(&'static str, T)]) -> SystemTable {
    SystemTable {
        oid,
        name,
        columns,
        rows: no_rows,
    }
}

#[rustfmt::skip] // Column lists read best as tables.
pub(crate) static TABLES: &[SystemTable] = &[
    empty(2396, "pg_shdescription", &[("objoid", T::Oid), ("classoid", T::Oid), ("description", T::Text)]),
    empty(3256, "pg_policy", &[
        ("oid", T::Oid), ("polname", T::Text), ("polrelid", T::Oid), ("polcmd", T::Text), ("polpermissive", T::Bool),
        ("polroles", T::Oids), ("polqual", T::Text), ("polwithcheck", T::Text),
    ]),
    empty(3381, "pg_statistic_ext", &[
        ("oid", T::Oid), ("stxrelid", T::Oid), ("stxname", T::Text), ("stxnamespace", T::Oid), ("stxowner", T::Oid),
        ("stxstattarget", T::Int4), ("stxkeys", T::Int2s), ("stxkind", T::Texts), ("stxexprs", T::Text),
    ]),
    empty(6104, "pg_publication", &[
        ("oid", T::Oid), ("pubname", T::Text), ("pubowner", T::Oid), ("puballtables", T::Bool), ("pubinsert", T::Bool),
        ("pubupdate", T::Bool), ("pubdelete", T::Bool), ("pubtruncate", T::Bool), ("pubviaroot", T::Bool),
    ]),
    empty(6106, "pg_publication_rel", &[
        ("oid", T::Oid), ("prpubid", T::Oid), ("prrelid", T::Oid), ("prqual", T::Text), ("prattrs", T::Int2s),
    ]),
    empty(6237, "pg_publication_namespace", &[("oid", T::Oid), ("pnpubid", T::Oid), ("pnnspid", T::Oid)]),
    empty(6100, "pg_subscription", &[
        ("oid", T::Oid), ("subdbid", T::Oid), ("subname", T::Text), ("subowner", T::Oid), ("subenabled", T::Bool),
    ]),
    empty(2620, "pg_trigger", &[
        ("oid", T::Oid), ("tgrelid", T::Oid), ("tgparentid", T::Oid), ("tgname", T::Text), ("tgfoid", T::Oid),
        ("tgtype", T::Int2), ("tgenabled", T::Text), ("tgisinternal", T::Bool), ("tgconstrrelid", T::Oid),
        ("tgconstrindid", T::Oid), ("tgconstraint", T::Oid), ("tgdeferrable", T::Bool), ("tginitdeferred", T::Bool),
        ("tgnargs", T::Int2), ("tgattr", T::Int2s), ("tgargs", T::Text), ("tgqual", T::Text), ("tgoldtable", T::Text),
        ("tgnewtable", T::Text), ("tableoid", T::Oid),
    ]),
    empty(2600, "pg_aggregate", &[("aggfnoid", T::Oid), ("aggkind", T::Text), ("aggnumdirectargs", T::Int2)]),
    empty(2617, "pg_operator", &[
        ("oid", T::Oid), ("oprname", T::Text), ("oprnamespace", T::Oid), ("oprowner", T::Oid), ("oprkind", T::Text),
        ("oprleft", T::Oid), ("oprright", T::Oid), ("oprresult", T::Oid), ("oprcode", T::Oid),
    ]),
    empty(2616, "pg_opclass", &[
        ("oid", T::Oid), ("opcmethod", T::Oid), ("opcname", T::Text), ("opcnamespace", T::Oid),
        ("opcintype", T::Oid), ("opcdefault", T::Bool), ("tableoid", T::Oid),
    ]),
    empty(2753, "pg_opfamily", &[
        ("oid", T::Oid), ("opfmethod", T::Oid), ("opfname", T::Text), ("opfnamespace", T::Oid), ("opfowner", T::Oid),
        ("tableoid", T::Oid),
    ]),
    empty(2607, "pg_conversion", &[
        ("oid", T::Oid), ("conname", T::Text), ("connamespace", T::Oid), ("conowner", T::Oid),
        ("conforencoding", T::Int4), ("contoencoding", T::Int4), ("conproc", T::Text), ("condefault", T::Bool),
    ]),
    empty(3602, "pg_ts_config", &[
        ("oid", T::Oid), ("cfgname", T::Text), ("cfgnamespace", T::Oid), ("cfgowner", T::Oid), ("cfgparser", T::Oid),
    ]),
    empty(2605, "pg_cast", &[
        ("oid", T::Oid), ("castsource", T::Oid), ("casttarget", T::Oid), ("castfunc", T::Oid),
        ("castcontext", T::Text), ("castmethod", T::Text),
    ]),
    empty(3501, "pg_enum", &[
        ("oid", T::Oid), ("enumtypid", T::Oid), ("enumsortorder", T::Float4), ("enumlabel", T::Text),
    ]),
    empty(3541, "pg_range", &[
        ("rngtypid", T::Oid), ("rngsubtype", T::Oid), ("rngmultitypid", T::Oid), ("rngcollation", T::Oid),
        ("rngsubopc", T::Oid), ("rngcanonical", T::Text), ("rngsubdiff", T::Text),
    ]),
    empty(3079, "pg_extension", &[
        ("oid", T::Oid), ("extname", T::Text), ("extowner", T::Oid), ("extnamespace", T::Oid),
        ("extrelocatable", T::Bool), ("extversion", T::Text), ("extconfig", T::Oids), ("extcondition", T::Texts),
    ]),
    empty(3350, "pg_partitioned_table", &[
        ("partrelid", T::Oid), ("partstrat", T::Text), ("partnatts", T::Int2), ("partdefid", T::Oid),
    ]),
    empty(2964, "pg_db_role_setting", &[("setdatabase", T::Oid), ("setrole", T::Oid), ("setconfig", T::Texts)]),
    empty(3466, "pg_event_trigger", &[
        ("oid", T::Oid), ("evtname", T::Text), ("evtevent", T::Text), ("evtowner", T::Oid), ("evtfoid", T::Oid),
        ("evtenabled", T::Text), ("evttags", T::Texts),
    ]),
    empty(12_020, "pg_locks", &[
        ("locktype", T::Text), ("database", T::Oid), ("relation", T::Oid), ("pid", T::Int4), ("mode", T::Text),
        ("granted", T::Bool),
    ]),
    empty(12_021, "pg_prepared_xacts", &[("transaction", T::Int8), ("gid", T::Text), ("owner", T::Text)]),
];
