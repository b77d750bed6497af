//! Statements about roles and privileges; what is left of a password.

use planner::parse::{GrantAction, GrantKind, GrantObjects, RoleName, RoleOption, RoleStatement};
use planner::{Error, Statement, parse};

use crate::catalog::one;

fn role(sql: &str) -> RoleStatement {
    match one(sql) {
        Statement::Role(role) => role,
        other => panic!("{sql}: {other:?}"),
    }
}

#[test]
fn roles_have_options_in_any_order() {
    let RoleStatement::Create {
        name,
        if_not_exists,
        options,
    } = role(
        "create user \"Ann\" valid until '2040-01-01' connection limit -1 password null in role a, b",
    )
    else {
        panic!()
    };
    assert_eq!(name, RoleName::Named("Ann".into()));
    assert!(!if_not_exists);
    let [a, b] = ["a", "b"].map(|name| RoleName::Named(name.into()));
    assert_eq!(
        options,
        [
            RoleOption::Login(true),
            RoleOption::ValidUntil("2040-01-01".into()),
            RoleOption::ConnectionLimit(-1),
            RoleOption::Password(None),
            RoleOption::InRoles(vec![a, b]),
        ]
    );
    for wrong in [
        "CREATE ROLE a LOGIN NOLOGIN",
        "CREATE ROLE a WITH FINS",
        "ALTER ROLE a PASSWORD",
    ] {
        assert!(matches!(parse(wrong), Err(Error::Syntax { .. })), "{wrong}");
    }
    assert!(matches!(
        parse("ALTER ROLE a SET search_path = x"),
        Err(Error::Unsupported { .. })
    ));
}

#[test]
fn a_password_is_in_no_text() {
    for sql in [
        "  CREATE USER a PASSWORD 'sea''weed' LOGIN",
        "alter role a with encrypted password E'sea\\nweed'; SELECT 1",
        "/* ä */ ALTER USER a PASSWORD $x$seaweed$x$",
    ] {
        let texts: Vec<String> = parse(sql).unwrap().into_iter().map(|p| p.text).collect();
        assert!(!texts.concat().contains("weed"), "{texts:?}");
        assert!(texts[0].contains("'********'"), "{texts:?}");
    }
    // Others have none.
    assert_eq!(
        parse("SELECT password 'x'").unwrap()[0].text,
        "SELECT password 'x'"
    );
}

#[test]
fn members_and_privileges_are_told_apart() {
    let RoleStatement::Grant { roles, to, admin } =
        role("GRANT staff, selectors TO ann, CURRENT_USER WITH ADMIN OPTION")
    else {
        panic!()
    };
    assert_eq!((roles.len(), admin), (2, true));
    assert_eq!(to, [RoleName::Named("ann".into()), RoleName::Current]);
    let Statement::Grant(grant) =
        one("REVOKE GRANT OPTION FOR select, INSERT ON t, s.u FROM PUBLIC CASCADE")
    else {
        panic!()
    };
    assert_eq!(
        grant.granted.privileges.unwrap(),
        ["select".to_owned(), "insert".to_owned()]
    );
    assert_eq!(grant.granted.roles, [RoleName::Public]);
    assert_eq!(
        grant.granted.action,
        GrantAction::Revoke {
            option_only: true,
            cascade: true
        }
    );
    assert!(matches!(grant.objects, GrantObjects::Named(names) if names.len() == 2));
    let Statement::Grant(grant) = one("GRANT ALL PRIVILEGES ON ALL SEQUENCES IN SCHEMA a, b TO c")
    else {
        panic!()
    };
    assert_eq!(grant.granted.privileges, None);
    assert_eq!(grant.granted.kind, GrantKind::Sequence);
    assert!(matches!(grant.objects, GrantObjects::AllIn(schemas) if schemas.len() == 2));
    let Statement::DefaultPrivileges(default) = one(
        "ALTER DEFAULT PRIVILEGES IN SCHEMA a FOR ROLE b, c GRANT USAGE ON SEQUENCES TO GROUP d",
    ) else {
        panic!()
    };
    assert_eq!((default.of.len(), default.schemas.len()), (2, 1));
    for refused in [
        "GRANT SELECT (a) ON t TO b",
        "GRANT EXECUTE ON FUNCTION f TO b",
    ] {
        let error = parse(refused).unwrap_err();
        assert!(matches!(error, Error::Unsupported { .. }), "{refused}");
    }
}

#[test]
fn sessions_act_as_others() {
    let named = |name: &str| Some(name.to_owned());
    for (sql, expected) in [
        ("SET ROLE ann", RoleStatement::SetRole(named("ann"))),
        ("SET LOCAL ROLE 'Ann'", RoleStatement::SetRole(named("Ann"))),
        ("SET role = ann", RoleStatement::SetRole(named("ann"))),
        ("SET SESSION ROLE NONE", RoleStatement::SetRole(None)),
        ("RESET ROLE", RoleStatement::SetRole(None)),
        (
            "SET SESSION AUTHORIZATION ann",
            RoleStatement::SetSession(named("ann")),
        ),
        (
            "SET SESSION AUTHORIZATION DEFAULT",
            RoleStatement::SetSession(None),
        ),
        (
            "RESET SESSION AUTHORIZATION",
            RoleStatement::SetSession(None),
        ),
    ] {
        assert_eq!(role(sql), expected, "{sql}");
    }
    // Other settings are none of these.
    assert!(matches!(
        one("SET SESSION search_path = a"),
        Statement::Pg(_)
    ));
}
