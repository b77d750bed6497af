//! `CREATE TABLE`: columns, defaults and primary key, and the dataflow that keeps the rows.
//!
//! ```text
//!   INSERT, UPDATE, … ─► [Dml] ──Hash(primary key, or all columns)──► [Materialize]
//! ```
//!
//! Not here: how a write finds the old rows and checks constraints (the server), evaluating
//! defaults ([`crate::batch::Session::evaluate`]).

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use sqlparser::ast;
use sqlparser::ast::{ColumnDef, ColumnOption, CreateTable, TableConstraint};

use crate::catalog::{RelationId, WatermarkDefinition};
use crate::dataflow::{Dataflow, Distribution, Fragment, Input, Node, Upstream};
use crate::error::{Error, Result};
use crate::names::{identifier, nullable};
use crate::parse::columns_as::AS_QUERIED;
use crate::types::{arrow_type, check_compared, column_type};
use crate::watermarks::compile;

/// What a `CREATE TABLE` defines.
#[derive(Clone, Debug)]
pub struct TableDefinition {
    /// In the order of the statement.
    pub columns: Vec<ColumnDefinition>,
    /// Columns of the primary key, in its order; empty if there is none.
    pub primary_key: Vec<usize>,
    /// `WATERMARK FOR`.
    pub watermark: Option<WatermarkDefinition>,
}

/// A column of a table.
#[derive(Clone, Debug)]
pub struct ColumnDefinition {
    /// Name, folded to lower case unless quoted.
    pub name: String,
    /// Type.
    pub data_type: DataType,
    /// Whether NULL is refused: declared so, or part of the primary key.
    pub not_null: bool,
    /// The `DEFAULT` expression; NULL if absent. It may be volatile.
    pub default: Option<ast::Expr>,
    /// The sequence that gives its values, if it has one of its own.
    pub sequence: Option<OwnSequence>,
    /// The expression of `GENERATED ALWAYS AS (…) STORED`.
    pub generated: Option<ast::Expr>,
}

/// The sequence of a `serial` or identity column.
#[derive(Clone, Debug)]
pub struct OwnSequence {
    /// Absent for `serial`.
    pub identity: Option<Identity>,
    /// As written.
    pub options: Vec<ast::SequenceOptions>,
}

/// Who gives the values of an identity column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    /// The sequence alone.
    Always,
    /// The sequence, if a statement does not.
    ByDefault,
}

impl ColumnDefinition {
    /// A column that may be NULL, and is unless it is given.
    #[must_use]
    pub fn plain(name: String, data_type: DataType) -> Self {
        Self {
            name,
            data_type,
            not_null: false,
            default: None,
            sequence: None,
            generated: None,
        }
    }
}

impl TableDefinition {
    /// Reads a `CREATE TABLE` with a column list.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for constraints and clauses that are not offered,
    /// [`Error::InvalidDefinition`] for two primary keys, and faults of names and types.
    pub fn from_ast(statement: &CreateTable) -> Result<Self> {
        refuse_clauses(statement)?;
        let mut table = Self {
            columns: Vec::with_capacity(statement.columns.len()),
            primary_key: Vec::new(),
            watermark: None,
        };
        for column in &statement.columns {
            table.add_column(column)?;
        }
        for constraint in &statement.constraints {
            table.add_constraint(constraint)?;
        }
        if table.columns.is_empty() {
            return Err(Error::unsupported(
                "a table without columns",
                "declare at least one column",
            ));
        }
        Ok(table)
    }

    /// The column of an `ALTER TABLE … ADD COLUMN`.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for constraints, identity and generated columns.
    pub fn added_column(column: &ColumnDef) -> Result<ColumnDefinition> {
        let mut table = Self {
            columns: Vec::with_capacity(1),
            primary_key: Vec::new(),
            watermark: None,
        };
        table.add_column(column)?;
        let added = table.columns.remove(0);
        let refused = [
            (!table.primary_key.is_empty(), "PRIMARY KEY"),
            (added.sequence.is_some(), "a sequence of its own"),
            (added.generated.is_some(), "a generation expression"),
        ];
        for (is_refused, what) in refused {
            if is_refused {
                return Err(Error::unsupported(
                    format!("adding a column with {what}"),
                    "create another table and copy the rows",
                ));
            }
        }
        Ok(added)
    }

    /// The table of `CREATE TABLE … AS query`, whose columns are those of the query.
    ///
    /// # Errors
    /// [`Error::DuplicateColumn`], [`Error::Unsupported`] for a column list, and for types that
    /// columns of tables cannot have.
    pub fn from_query(statement: &CreateTable, query: &Schema) -> Result<Self> {
        refuse_clauses(statement)?;
        if statement
            .columns
            .iter()
            .any(|column| !is_as_queried(column))
        {
            return Err(Error::unsupported(
                "CREATE TABLE AS with types of columns",
                "leave the types out, and cast in the query",
            ));
        }
        if statement.columns.len() > query.fields().len() {
            return Err(Error::InvalidDefinition {
                message: "too many column names were specified".to_owned(),
            });
        }
        let mut table = Self {
            columns: Vec::with_capacity(query.fields().len()),
            primary_key: Vec::new(),
            watermark: None,
        };
        for (at, field) in query.fields().iter().enumerate() {
            let data_type = column_type(field.data_type())?;
            let name = match statement.columns.get(at) {
                Some(column) => identifier(&column.name),
                None => field.name().clone(),
            };
            table.push(ColumnDefinition::plain(name, data_type))?;
        }
        Ok(table)
    }

    /// The columns with their names; NOT NULL columns are not nullable.
    #[must_use]
    pub fn schema(&self) -> SchemaRef {
        let fields: Vec<Field> = self
            .columns
            .iter()
            .map(|column| Field::new(&column.name, column.data_type.clone(), !column.not_null))
            .collect();
        Arc::new(Schema::new(fields))
    }

    fn push(&mut self, column: ColumnDefinition) -> Result<()> {
        if self.columns.iter().any(|other| other.name == column.name) {
            return Err(Error::DuplicateColumn { name: column.name });
        }
        self.columns.push(column);
        Ok(())
    }

    fn add_column(&mut self, column: &ColumnDef) -> Result<()> {
        let name = identifier(&column.name);
        let serial = serial_type(&column.data_type);
        let data_type = match &serial {
            Some(data_type) => data_type.clone(),
            None => column_type(&arrow_type(&column.data_type)?)?,
        };
        self.push(ColumnDefinition::plain(name.clone(), data_type))?;
        let at = self.columns.len() - 1;
        if serial.is_some() {
            self.set_sequence(at, None, &[])?;
        }
        for option in &column.options {
            match &option.option {
                ColumnOption::Null => {}
                ColumnOption::NotNull => self.columns[at].not_null = true,
                ColumnOption::Default(expr) => self.columns[at].default = Some(expr.clone()),
                ColumnOption::PrimaryKey(_) => self.set_primary_key(vec![at])?,
                ColumnOption::Unique(_) => return Err(refused("UNIQUE")),
                ColumnOption::ForeignKey(_) => return Err(refused("FOREIGN KEY")),
                ColumnOption::Check(_) => return Err(refused("CHECK")),
                ColumnOption::Generated {
                    generated_as,
                    sequence_options,
                    generation_expr,
                    generation_expr_mode,
                    ..
                } => match (generated_as, generation_expr) {
                    (_, Some(expr)) => {
                        if *generation_expr_mode != Some(ast::GeneratedExpressionMode::Stored) {
                            return Err(Error::unsupported(
                                format!("virtual generated column \"{name}\""),
                                "declare it STORED",
                            ));
                        }
                        self.columns[at].generated = Some(expr.clone());
                    }
                    (generated_as, None) => {
                        let identity = match generated_as {
                            ast::GeneratedAs::ByDefault => Identity::ByDefault,
                            _ => Identity::Always,
                        };
                        let options = sequence_options.as_deref().unwrap_or_default();
                        self.set_sequence(at, Some(identity), options)?;
                    }
                },
                other => return Err(Error::unsupported(format!("column option {other}"), "")),
            }
        }
        let column = &self.columns[at];
        let sources = [
            column.default.is_some(),
            column.sequence.is_some(),
            column.generated.is_some(),
        ];
        if sources.into_iter().filter(|present| *present).count() > 1 {
            return Err(Error::Syntax {
                message: format!("multiple default values specified for column \"{name}\""),
                position: 1,
            });
        }
        Ok(())
    }

    fn set_sequence(
        &mut self,
        at: usize,
        identity: Option<Identity>,
        options: &[ast::SequenceOptions],
    ) -> Result<()> {
        let column = &mut self.columns[at];
        if !matches!(
            column.data_type,
            DataType::Int16 | DataType::Int32 | DataType::Int64
        ) {
            return Err(Error::InvalidParameter {
                message: "identity column type must be smallint, integer, or bigint".to_owned(),
            });
        }
        column.not_null = true;
        column.sequence = Some(OwnSequence {
            identity,
            options: options.to_vec(),
        });
        Ok(())
    }

    fn add_constraint(&mut self, constraint: &TableConstraint) -> Result<()> {
        let key = match constraint {
            TableConstraint::PrimaryKey(key) => key,
            TableConstraint::Unique(_) => return Err(refused("UNIQUE")),
            TableConstraint::ForeignKey(_) => return Err(refused("FOREIGN KEY")),
            TableConstraint::Check(_) => return Err(refused("CHECK")),
            other => return Err(Error::unsupported(format!("constraint {other}"), "")),
        };
        let mut columns = Vec::with_capacity(key.columns.len());
        for column in &key.columns {
            let ast::Expr::Identifier(name) = &column.column.expr else {
                return Err(Error::unsupported("an expression in a primary key", ""));
            };
            let name = identifier(name);
            let at = self.columns.iter().position(|column| column.name == name);
            let at = at.ok_or_else(|| Error::UndefinedColumn { name: name.clone() })?;
            if columns.contains(&at) {
                return Err(Error::DuplicateColumn { name });
            }
            columns.push(at);
        }
        self.set_primary_key(columns)
    }

    fn set_primary_key(&mut self, columns: Vec<usize>) -> Result<()> {
        if !self.primary_key.is_empty() {
            return Err(Error::InvalidDefinition {
                message: "multiple primary keys for one table are not allowed".to_owned(),
            });
        }
        for column in &columns {
            check_compared(&self.columns[*column].data_type)?;
            self.columns[*column].not_null = true;
        }
        self.primary_key = columns;
        Ok(())
    }
}

/// The type of a `serial` column, which is no type of its own.
fn serial_type(data_type: &ast::DataType) -> Option<DataType> {
    let ast::DataType::Custom(name, _) = data_type else {
        return None;
    };
    match name.to_string().to_lowercase().as_str() {
        "smallserial" | "serial2" => Some(DataType::Int16),
        "serial" | "serial4" => Some(DataType::Int32),
        "bigserial" | "serial8" => Some(DataType::Int64),
        _ => None,
    }
}

fn refused(constraint: &str) -> Error {
    Error::unsupported(
        format!("a {constraint} constraint"),
        "PRIMARY KEY and NOT NULL are enforced; check other rules before writing",
    )
}

/// Whether a column of `CREATE TABLE AS` is a name alone.
fn is_as_queried(column: &ColumnDef) -> bool {
    match &column.data_type {
        ast::DataType::Custom(name, _) => {
            let word = name.0.last().and_then(|part| part.as_ident());
            column.options.is_empty() && word.is_some_and(|word| word.value == AS_QUERIED)
        }
        _ => false,
    }
}

fn refuse_clauses(statement: &CreateTable) -> Result<()> {
    let clauses = [
        (statement.inherits.is_some(), "table inheritance"),
        (statement.partition_by.is_some(), "a partitioned table"),
        (statement.partition_of.is_some(), "a partitioned table"),
        (statement.external, "an external table"),
    ];
    for (present, what) in clauses {
        if present {
            return Err(Error::unsupported(what, "create a plain table"));
        }
    }
    if !matches!(statement.table_options, ast::CreateTableOptions::None) {
        return Err(Error::unsupported(
            "a WITH clause of a table",
            "leave it out",
        ));
    }
    Ok(())
}

/// The dataflow of a table: writes, routed by the primary key or else by all columns, so that the
/// changes of one row always meet in one key group.
///
/// # Errors
/// Faults of the watermark.
pub fn plan_table(table: &TableDefinition) -> Result<Dataflow> {
    let all = (0..table.columns.len()).collect();
    let schema = table.schema();
    plan_rows(&schema, &table.primary_key, all, table.watermark.as_ref())
}

/// The dataflow of rows with these columns, found by `key`, or else hashed by `hashed_by`: a table
/// that has got more columns is still hashed by those that it was created with.
///
/// # Errors
/// Faults of the watermark.
pub fn plan_rows(
    columns: &Schema,
    key: &[usize],
    hashed_by: Vec<usize>,
    watermark: Option<&WatermarkDefinition>,
) -> Result<Dataflow> {
    let schema = nullable(columns);
    let watermark = watermark
        .map(|definition| compile(definition, &schema))
        .transpose()?;
    let watermarks: Vec<usize> = watermark.iter().map(|watermark| watermark.column).collect();
    let distribution = if key.is_empty() {
        Distribution::Hash(hashed_by)
    } else {
        Distribution::Hash(key.to_vec())
    };
    let writes = Fragment {
        root: Node::Dml {
            schema: Arc::clone(&schema),
            watermark,
        },
        inputs: Vec::new(),
    };
    let rows = Fragment {
        root: Node::Materialize {
            input: Box::new(Node::Input {
                inputs: vec![0],
                schema: Arc::clone(&schema),
            }),
            key: key.to_vec(),
        },
        inputs: vec![Input {
            from: Upstream::Fragment(0),
            schema: Arc::clone(&schema),
            distribution,
            watermarks: watermarks.clone(),
        }],
    };
    Ok(Dataflow {
        fragments: vec![writes, rows],
        schema,
        stream_key: key.to_vec(),
        append_only: false,
        watermarks,
        emitted_by: None,
    })
}

/// The dataflow of an index: the rows of another job, hashed by these columns.
///
/// ```text
///   relation ──Forward──► [Input] ──Hash(columns)──► [Materialize]
/// ```
#[must_use]
pub fn plan_index(relation: RelationId, columns: &Schema, by: &[usize]) -> Dataflow {
    let schema = nullable(columns);
    let input = || Node::Input {
        inputs: vec![0],
        schema: Arc::clone(&schema),
    };
    let reads = |from, distribution| Input {
        from,
        schema: Arc::clone(&schema),
        distribution,
        watermarks: Vec::new(),
    };
    let rows = Fragment {
        root: input(),
        inputs: vec![reads(Upstream::Relation(relation), Distribution::Forward)],
    };
    let index = Fragment {
        root: Node::Materialize {
            input: Box::new(input()),
            key: Vec::new(),
        },
        inputs: vec![reads(
            Upstream::Fragment(0),
            Distribution::Hash(by.to_vec()),
        )],
    };
    Dataflow {
        fragments: vec![rows, index],
        schema,
        stream_key: Vec::new(),
        append_only: false,
        watermarks: Vec::new(),
        emitted_by: None,
    }
}
