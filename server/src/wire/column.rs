//! What a client is told of a column beyond what its Arrow type says: the table that it is of, and
//! the type that was declared there. It travels as metadata of the field, to the RowDescription.

use std::collections::HashMap;

use arrow::datatypes::Field;
use planner::values::types::SqlType;

/// Key of the metadata.
const KEY: &str = "tidewater.column";

/// How a column is described.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WireColumn {
    /// Oid of its relation, 0 if it is computed.
    pub relation: u32,
    /// Its number there, from 1; 0 if it is computed.
    pub number: i16,
    /// Oid of its type.
    pub type_oid: u32,
    /// Bytes of a value, -1 if they differ.
    pub value_bytes: i16,
    /// Modifier of its type, -1 if it has none.
    pub modifier: i32,
}

impl WireColumn {
    /// A column of a type, of no relation.
    #[must_use]
    pub fn of_type(sql_type: &SqlType) -> WireColumn {
        WireColumn {
            relation: 0,
            number: 0,
            type_oid: sql_type.oid(),
            value_bytes: sql_type.value_bytes(),
            modifier: sql_type.modifier(),
        }
    }

    /// What a field carries; by its Arrow type if it carries nothing. What is computed has no
    /// modifier.
    #[must_use]
    pub fn of_field(field: &Field) -> WireColumn {
        WireColumn::carried_by(field).unwrap_or_else(|| WireColumn {
            modifier: -1,
            ..WireColumn::of_type(&SqlType::of(field.data_type()))
        })
    }

    fn carried_by(field: &Field) -> Option<WireColumn> {
        WireColumn::parse(field.metadata().get(KEY)?)
    }

    /// The type that a column has which is made of this field, as a view's are.
    #[must_use]
    pub fn declared_type(field: &Field) -> SqlType {
        let carried = WireColumn::carried_by(field).and_then(WireColumn::sql_type);
        let carried = carried.map(|carried| carried.in_shape_of(field.data_type()));
        carried.unwrap_or_else(|| match SqlType::of(field.data_type()) {
            SqlType::Numeric(_) => SqlType::Numeric(None),
            other => other,
        })
    }

    /// The type with its modifier.
    fn sql_type(self) -> Option<SqlType> {
        SqlType::declared(self.type_oid, self.modifier)
    }

    /// As metadata of a field.
    #[must_use]
    pub fn metadata(self) -> HashMap<String, String> {
        let text = format!(
            "{} {} {} {} {}",
            self.relation, self.number, self.type_oid, self.value_bytes, self.modifier
        );
        HashMap::from([(KEY.to_owned(), text)])
    }

    fn parse(text: &str) -> Option<WireColumn> {
        let mut words = text.split(' ');
        Some(WireColumn {
            relation: words.next()?.parse().ok()?,
            number: words.next()?.parse().ok()?,
            type_oid: words.next()?.parse().ok()?,
            value_bytes: words.next()?.parse().ok()?,
            modifier: words.next()?.parse().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::DataType;

    use super::*;

    #[test]
    fn metadata_goes_both_ways() {
        let column = WireColumn {
            relation: 16_400,
            number: 3,
            ..WireColumn::of_type(&SqlType::Varchar(Some(10)))
        };
        let field = Field::new("a", DataType::Utf8, true);
        assert_eq!(WireColumn::of_field(&field).type_oid, 25);
        let field = field.with_metadata(column.metadata());
        assert_eq!(WireColumn::of_field(&field), column);
        assert_eq!((column.type_oid, column.modifier), (1043, 14));
        assert_eq!(
            WireColumn::declared_type(&field),
            SqlType::Varchar(Some(10))
        );
        let numeric = WireColumn::of_type(&SqlType::Numeric(Some((20, 2))));
        assert_eq!(numeric.sql_type(), Some(SqlType::Numeric(Some((20, 2)))));
    }
}
