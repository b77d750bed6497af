//! Functions that return rows, each column of which is an array of a function that returns one value.

use sqlparser::ast::{Ident, TableAlias, TableAliasColumnDef};

/// A function that returns rows.
pub(crate) struct RowFunction {
    pub(crate) name: &'static str,
    /// The functions of the same arguments that return its columns as arrays.
    pub(crate) arrays: &'static [&'static str],
    /// Its columns' names; of one column alone, its own.
    columns: &'static [&'static str],
}

/// All of them.
pub(crate) const ROW_FUNCTIONS: &[RowFunction] = &[
    one("generate_series", &["generate_series"]),
    one("regexp_matches", &["pg_regexp_matches"]),
    one("regexp_split_to_table", &["regexp_split_to_array"]),
    one("string_to_table", &["string_to_array"]),
    one("generate_subscripts", &["pg_subscripts"]),
    RowFunction {
        name: "jsonb_array_elements",
        arrays: &["pg_json_elements"],
        columns: &["value"],
    },
    RowFunction {
        name: "jsonb_array_elements_text",
        arrays: &["pg_json_element_texts"],
        columns: &["value"],
    },
    one("jsonb_object_keys", &["pg_json_keys"]),
    RowFunction {
        name: "jsonb_each",
        arrays: &["pg_json_keys", "pg_json_values"],
        columns: &["key", "value"],
    },
    RowFunction {
        name: "jsonb_each_text",
        arrays: &["pg_json_keys", "pg_json_value_texts"],
        columns: &["key", "value"],
    },
];

const fn one(name: &'static str, arrays: &'static [&'static str]) -> RowFunction {
    RowFunction {
        name,
        arrays,
        columns: &[],
    }
}

impl RowFunction {
    /// The alias of the rows, with names of columns if the query has none.
    pub(crate) fn alias(&self, written: Option<TableAlias>) -> TableAlias {
        let named = written.is_some();
        let mut alias = written.unwrap_or_else(|| TableAlias {
            explicit: false,
            name: Ident::new(self.name),
            columns: Vec::new(),
            at: None,
        });
        if alias.columns.is_empty() {
            // One column is called as the rows are, if they have a name.
            let own = self.columns.iter().map(ToString::to_string);
            let names: Vec<String> = match self.columns {
                [_] | [] if named => vec![alias.name.value.clone()],
                [] => vec![self.name.to_owned()],
                _ => own.collect(),
            };
            alias.columns = names
                .into_iter()
                .map(|name| TableAliasColumnDef {
                    name: Ident::new(name),
                    data_type: None,
                })
                .collect();
        }
        alias
    }
}
