//! The text of a view's query, with the names that its relations have now.
//!
//! A view stores its query as it was written, and what each name in it means, by id. What it reads
//! may since have got another name: the text is shown with that one, and, as PostgreSQL does, with
//! the old one as its alias where columns are qualified by it.

use std::borrow::Cow;

use planner::parse::{NamedRelation, named_relations};

use crate::catalog::{Catalog, Entry};
use crate::namespace::Name;
use crate::pg_catalog::relations::quoted;

/// The query of a view; `None` if it is none.
pub(crate) fn query_text<'a>(catalog: &Catalog, view: &'a Entry) -> Option<Cow<'a, str>> {
    let written = view.definition.as_deref()?;
    let is_renamed = |(name, id): (&String, &u32)| {
        let relation = catalog.by_id(*id);
        relation.is_some_and(|relation| !is_called(relation, name))
    };
    if !view.bindings.iter().any(is_renamed) {
        return Some(Cow::Borrowed(written));
    }
    let mut text = written.to_owned();
    // From the end, so that places in front stay.
    for named in named_relations(written).into_iter().rev() {
        let name = Name {
            schema: named.schema.clone(),
            local: named.name.clone(),
            path: Vec::new(),
        };
        let name = name.to_string();
        let relation = view.bindings.get(&name).and_then(|id| catalog.by_id(*id));
        if let Some(relation) = relation.filter(|relation| !is_called(relation, &name)) {
            text.replace_range(named.range.clone(), &now_called(relation, &named));
        }
    }
    Some(Cow::Owned(text))
}

/// The statement that makes a relation as it is now.
pub(crate) fn create_text(catalog: &Catalog, entry: &Entry) -> String {
    let statement = entry.statement.as_str();
    let before = entry
        .definition
        .as_ref()
        .and_then(|definition| statement.strip_suffix(definition.as_str()));
    match (before, query_text(catalog, entry)) {
        (Some(before), Some(query)) => format!("{before}{query}"),
        _ => statement.to_owned(),
    }
}

/// Whether a name of a query is that of the relation still. One without a schema was found along a
/// search path that nobody remembers.
fn is_called(relation: &Entry, written: &str) -> bool {
    written == relation.name || written == format!("{}.{}", relation.schema_name, relation.name)
}

fn now_called(relation: &Entry, written: &NamedRelation) -> String {
    let name = match written.schema {
        Some(_) => format!(
            "{}.{}",
            quoted(&relation.schema_name),
            quoted(&relation.name)
        ),
        None => relation.reference(),
    };
    if written.qualifies && written.name != relation.name {
        return format!("{name} {}", quoted(&written.name));
    }
    name
}
