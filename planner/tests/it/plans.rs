//! Plans of views as text: `plans.txt` holds queries and what EXPLAIN shows for each.

use crate::catalog::plan;

#[tokio::test]
async fn plans_are_as_written() {
    let mut different = String::new();
    let mut count = 0;
    for case in include_str!("plans.txt").split("=== ").skip(1) {
        let (sql, expected) = case.split_once('\n').unwrap();
        let actual = plan(sql).await.unwrap().explain().join("\n");
        if actual != expected.trim_end() {
            different.push_str(&format!("=== {sql}\n{actual}\n"));
        }
        count += 1;
    }
    assert!(different.is_empty(), "plans are now\n{different}");
    assert!(count >= 25, "{count} plans");
}
