//! The columns that an operator reads: computed in front of it, each once.

use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::Expr;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Literal;

use super::build::Builder;
use crate::error::Result;
use crate::types::column_type;

/// Longer expressions are not used as names.
const NAME_MAX: usize = 24;

/// Expressions over a logical schema, to be projected.
pub(super) struct Columns<'a> {
    pub(super) schema: &'a DFSchema,
    pub(super) exprs: Vec<Expr>,
    pub(super) physical: Vec<Arc<dyn PhysicalExpr>>,
    pub(super) fields: Vec<Field>,
}

impl<'a> Columns<'a> {
    /// No columns yet.
    pub(super) fn over(schema: &'a DFSchema) -> Self {
        Self {
            schema,
            exprs: Vec::new(),
            physical: Vec::new(),
            fields: Vec::new(),
        }
    }

    /// Adds a column, and returns its place.
    ///
    /// # Errors
    /// If it is of a type that no state can keep.
    pub(super) fn push(&mut self, builder: &Builder<'_>, expr: &Expr, name: &str) -> Result<usize> {
        let physical = builder.physical(expr, self.schema)?;
        let data_type = physical.data_type(self.schema.as_arrow())?;
        column_type(&data_type)?;
        self.exprs.push(expr.clone());
        self.physical.push(physical);
        self.fields.push(Field::new(name, data_type, true));
        Ok(self.exprs.len() - 1)
    }

    /// A column of NULLs, of the type of another one.
    pub(super) fn push_null(&mut self, like: usize) -> Result<usize> {
        let field = &self.fields[like];
        let null = ScalarValue::try_new_null(field.data_type())?;
        let name = format!("distinct {}", field.name());
        self.fields
            .push(Field::new(name, field.data_type().clone(), true));
        self.exprs.push(Expr::Literal(null.clone(), None));
        self.physical.push(Arc::new(Literal::new(null)));
        Ok(self.exprs.len() - 1)
    }

    /// The place of a column, added if it is not there yet.
    pub(super) fn find_or_push(&mut self, builder: &Builder<'_>, expr: &Expr) -> Result<usize> {
        self.find_or_push_behind(0, builder, expr)
    }

    /// As [`find_or_push`](Self::find_or_push), but not one of the first `others` columns.
    pub(super) fn find_or_push_behind(
        &mut self,
        others: usize,
        builder: &Builder<'_>,
        expr: &Expr,
    ) -> Result<usize> {
        match self.exprs[others..].iter().position(|known| known == expr) {
            Some(at) => Ok(others + at),
            None => {
                let mut name = expr.human_display().to_string();
                if name.len() > NAME_MAX {
                    name = format!("argument {}", self.exprs.len());
                }
                self.push(builder, expr, &name)
            }
        }
    }

    pub(super) fn to_schema(&self) -> SchemaRef {
        Arc::new(Schema::new(self.fields.clone()))
    }
}
