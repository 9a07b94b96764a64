// What the macro makes of `test` in src/golden.rs. Formatted by prettyplease.
#[cfg(test)]
#[test]
#[ignore = "slow"]
#[should_panic]
fn four_cores() {
    async fn __ebb_body() {
        panic!()
    }
    ::ebb_hosted::test(
        ::core::option::Option::Some(4),
        || async { ::ebb::__private::test_outcome(__ebb_body().await) },
    );
}
#[cfg(not(test))]
const _: () = {
    async fn __ebb_body() {
        panic!()
    }
    fn __ebb_start() -> ::ebb::__private::TestFuture {
        ::ebb::__private::Box::pin(async {
            ::ebb::__private::test_outcome(__ebb_body().await)
        })
    }
    #[used]
    #[unsafe(link_section = "ebb_tests")]
    static __EBB_TEST: ::ebb::__private::TestCase = ::ebb::__private::TestCase {
        module: ::core::module_path!(),
        name: "four_cores",
        cores: ::core::option::Option::Some(4),
        ignore: true,
        start: __ebb_start,
    };
};
