//! CREATE and DROP FUNCTION: functions of one expression in SQL.
//!
//! A call becomes the function's body when a query is planned (`planner::sql_function`). Views keep the
//! bodies that they were made with, so a body may be replaced while they run.

use std::collections::BTreeSet;

use planner::{Parsed, SqlFunction};
use sqlparser::ast::{
    CreateFunction, DropBehavior, DropFunction, FunctionDesc, FunctionReturnType,
};

use crate::access::privilege::Privileges;
use crate::big_stack;
use crate::catalog::{Catalog, Entry, Kind, update_change};
use crate::error::{Error, Result};
use crate::notice::Notice;
use crate::session::Session;
use crate::statement::Outcome;
use crate::statement::ddl::NewName;
use crate::statement::drop::{dependents_error, refuse_used_sequences};

impl Session {
    pub(crate) async fn create_function(
        &mut self,
        parsed: &Parsed,
        create: &CreateFunction,
    ) -> Result<Outcome> {
        let _ddl = self.lock_ddl().await?;
        self.check_ddl()?;
        if create.temporary || create.if_not_exists {
            return Err(Error::not_supported(
                "a function that is TEMPORARY or created IF NOT EXISTS is not supported",
            ));
        }
        let name = self.local_name(&create.name)?;
        let catalog = self.shared.catalog.read();
        let mut schemas = name.schemas();
        let Some(schema) = schemas.find(|schema| catalog.schema_oid(schema).is_some()) else {
            return Err(Error::NoSchema);
        };
        self.actor(&catalog)
            .check_schema(schema, Privileges::CREATE)?;
        let mut create = create.clone();
        for arg in create.args.iter_mut().flatten() {
            arg.data_type = self.resolved_type(&arg.data_type)?;
        }
        if let Some(FunctionReturnType::DataType(returns)) = &mut create.return_type {
            *returns = self.resolved_type(returns)?;
        }
        let function = SqlFunction::of(&create)?;
        let known = catalog.functions().find(|entry| {
            entry.schema_name == schema
                && entry.function().is_some_and(|known| {
                    known.name == function.name
                        && known.parameters.len() == function.parameters.len()
                })
        });
        self.check_body(&function).await?;
        let Some(known) = known else {
            let name = NewName {
                schema: schema.to_owned(),
                local: function.signature(),
            };
            let kind = Kind::Function(function);
            let entry = self.new_entry(name, kind, Vec::new(), &parsed.text);
            self.add_without_job(entry).await?;
            return Outcome::done("CREATE FUNCTION");
        };
        if known.name != function.signature() {
            return Err(Error::unsupported(
                format!(
                    "two functions \"{}\" of as many parameters are not supported",
                    function.name
                ),
                format!("There is {} already.", known.name),
            ));
        }
        if !create.or_replace {
            return Err(Error::DuplicateFunction {
                name: function.name,
            });
        }
        self.check_owner(known)?;
        if known
            .function()
            .is_some_and(|known| known.returns != function.returns)
        {
            return Err(Error::ReturnTypeChanges {
                name: known.name.clone(),
            });
        }
        let entry = Entry {
            kind: Kind::Function(function),
            statement: parsed.text.clone(),
            ..Entry::clone(known)
        };
        self.write_catalog(update_change(&entry)?).await?;
        self.shared.catalog.put(entry);
        Outcome::done("CREATE FUNCTION")
    }

    /// A body must be an expression that can be planned.
    async fn check_body(&mut self, function: &SqlFunction) -> Result<()> {
        let session = self.planner();
        let function = function.clone();
        big_stack::run(move |_| {
            let mut example = function.example()?;
            crate::pg_catalog::rewrite::rewrite(&mut example);
            let returns = planner::sql_function::arrow_type_of(&function.returns)?;
            session.evaluate(&example, &returns, 0)?;
            Ok(())
        })
        .await
    }

    pub(crate) async fn drop_functions(&mut self, drop: &DropFunction) -> Result<Outcome> {
        let _ddl = self.lock_ddl().await?;
        self.check_ddl()?;
        let catalog = self.shared.catalog.read();
        let mut ids = BTreeSet::new();
        for described in &drop.func_desc {
            match self.described_function(&catalog, described) {
                Ok(id) => {
                    ids.insert(id);
                }
                Err(error @ Error::Planner(planner::Error::UndefinedFunction { .. }))
                    if drop.if_exists =>
                {
                    let text = format!("{error}, skipping");
                    self.client.notice(&Notice::Progress(text));
                }
                Err(error) => return Err(error),
            }
        }
        let actor = self.actor(&catalog);
        for entry in ids.iter().filter_map(|id| catalog.by_id(*id)) {
            actor.check_drop(entry)?;
        }
        let dependents = catalog.dependents(&ids);
        if !dependents.is_empty() && drop.drop_behavior != Some(DropBehavior::Cascade) {
            return Err(dependents_error(&catalog, &ids, &dependents));
        }
        self.notice_cascade(dependents.iter().cloned());
        ids.extend(dependents.iter().map(|entry| entry.id));
        ids.extend(catalog.owned_indexes(&ids));
        refuse_used_sequences(&catalog, &ids)?;
        if !ids.is_empty() {
            self.drop_entries(&catalog, ids).await?;
        }
        Outcome::done("DROP FUNCTION")
    }

    /// The function that a `DROP` names, with or without the types of its parameters.
    fn described_function(&self, catalog: &Catalog, described: &FunctionDesc) -> Result<u32> {
        let name = self.local_name(&described.name)?;
        let types = described.args.as_ref().map(|args| {
            let types = args.iter().map(|arg| self.resolved_type(&arg.data_type));
            types.collect::<Result<Vec<_>>>()
        });
        let types = types.transpose()?;
        let is_named = |function: &SqlFunction| {
            let fits = types.as_ref().is_none_or(|types| function.takes(types));
            function.name == name.local && fits
        };
        let found = name.schemas().find_map(|schema| {
            let named = catalog.functions().filter(|entry| {
                entry.schema_name == schema && entry.function().is_some_and(is_named)
            });
            let ids: Vec<u32> = named.map(|entry| entry.id).collect();
            (!ids.is_empty()).then_some(ids)
        });
        match found.as_deref() {
            Some([id]) => Ok(*id),
            Some(_) => Err(Error::AmbiguousFunction {
                name: name.to_string(),
            }),
            None => {
                let types = types.unwrap_or_default();
                let types: Vec<String> = types.iter().map(planner::sql_function::shown).collect();
                Err(Error::Planner(planner::Error::UndefinedFunction {
                    name: format!("{name}({})", types.join(", ")),
                }))
            }
        }
    }
}
