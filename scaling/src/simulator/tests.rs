use std::time::Duration;

use super::*;
use crate::Strategy;

#[test]
fn runs() {
    for strategy in Strategy::ALL {
        let setup = Setup::small().with_strategy(strategy);
        let report = run(&setup).unwrap_or_else(|v| panic!("{strategy}: {v}"));
        let s = &report.scalings[0];
        eprintln!(
            "{strategy} {:?} {:?}\n {:?}",
            report.before, report.during, s
        );
        assert!(report.ended > Duration::from_secs(1));
    }
}
