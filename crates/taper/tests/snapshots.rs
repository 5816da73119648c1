//! What each command says of itself and of the mistakes that people make: whole, with its exit
//! code. After a change that is meant, `TRYCMD=overwrite cargo test --test snapshots` writes the
//! texts anew; read what it wrote.

#[test]
fn commands_say_what_they_said() {
    trycmd::TestCases::new().case("tests/snapshots/*.trycmd");
}
