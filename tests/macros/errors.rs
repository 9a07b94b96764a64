//! What bad input gets: each file in `ui/` beside the compiler's messages for it.
//! `TRYBUILD=overwrite cargo test -p macros-tests --test errors` writes the messages anew.

#[test]
fn every_misuse_is_reported_in_the_users_own_terms() {
    trybuild::TestCases::new().compile_fail("ui/*.rs");
}
