//! Reading the rows of a relation that a query asks for, and as few others as possible.
//!
//! ```text
//!   filters give values to the whole key     PointLookup   the key groups that the values hash to
//!   filters bound some of the key            IndexRange    in each chunk, the sorted keys between the bounds
//!   ORDER BY the key … LIMIT n               OrderedScan   the sorted chunks merged, up to the limit
//!   otherwise                                TableScan     all rows
//! ```
//!
//! A key is a table's primary key, what the rows of a view are hashed by, or an index's columns. Which of
//! these a scan is, is decided with the rows at hand: how many are in a range is known before one is read.

pub mod access_path;
pub mod index_scan;
pub mod key_conditions;
pub mod order_rule;
pub mod point_lookup;
pub mod scan_source;
pub mod table_scan;
