//! EXPLAIN of queries and of materialized views. Not here: of rescales (`explain_scaling.rs`).

use planner::parse::{ExplainFormat, ExplainOptions};
use planner::{Emit, PlanNode};
use serde_json::json;
use sqlparser::ast::{CreateView, Query};

use crate::big_stack;
use crate::error::{Error, Result};
use crate::session::{Parameters, Session};
use crate::statement::Outcome;
use crate::statement::ddl::explained;
use crate::statement::row_locks::without_locks;
use crate::statement::rows::Rows;

/// The one column of EXPLAIN.
pub(crate) const EXPLAIN_COLUMNS: [&str; 1] = ["QUERY PLAN"];

impl Session {
    pub(crate) async fn explain_query(
        &mut self,
        query: &Query,
        options: &ExplainOptions,
        parameters: Parameters,
    ) -> Result<Outcome> {
        refuse_analyze(options)?;
        self.see_own_writes().await?;
        let session = self.reading_planner();
        let query = without_locks(query);
        let (plan, session) = self.plan_batch(&query, session, parameters).await?;
        let (format, verbose) = (options.format, options.verbose);
        let lines = big_stack::run(move |handle| {
            Ok(match format {
                ExplainFormat::Text => handle.block_on(plan.explain(&session, verbose))?,
                ExplainFormat::Json => {
                    vec![json_text(&handle.block_on(plan.explain_tree(&session))?)?]
                }
            })
        });
        plan_rows(lines.await?)
    }

    pub(crate) async fn explain_view(
        &mut self,
        view: &CreateView,
        emit: Emit,
        options: &ExplainOptions,
    ) -> Result<Outcome> {
        refuse_analyze(options)?;
        if options.format != ExplainFormat::Text {
            return Err(Error::unsupported(
                "EXPLAIN of a materialized view in this format is not supported",
                "Use FORMAT TEXT.",
            ));
        }
        let (plan, _) = self.plan_materialized(view, emit).await?;
        plan_rows(explained(&plan.dataflow, &self.shared.catalog.read()))
    }
}

pub(crate) fn plan_rows(lines: Vec<String>) -> Result<Outcome> {
    let rows: Vec<Vec<Option<String>>> = lines.into_iter().map(|line| vec![Some(line)]).collect();
    Ok(Outcome::Rows(Rows::of_texts(
        &EXPLAIN_COLUMNS,
        &rows,
        "EXPLAIN",
    )?))
}

/// A plan as PostgreSQL's `FORMAT JSON` shows it: clients draw such trees.
fn json_text(plan: &PlanNode) -> Result<String> {
    let text = serde_json::to_string_pretty(&json!([{ "Plan": json_node(plan) }]));
    text.map_err(|error| Error::Internal(error.to_string()))
}

fn json_node(node: &PlanNode) -> serde_json::Value {
    let mut value = json!({ "Node Type": node.name, "Details": node.details });
    if !node.inputs.is_empty() {
        value["Plans"] = node.inputs.iter().map(json_node).collect();
    }
    value
}

fn refuse_analyze(options: &ExplainOptions) -> Result<()> {
    if options.analyze {
        return Err(Error::unsupported(
            "EXPLAIN ANALYZE is not supported",
            "Use EXPLAIN, or run the query with \\timing.",
        ));
    }
    Ok(())
}
