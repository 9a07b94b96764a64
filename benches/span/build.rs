//! The stubs of Cap'n Proto (with Debian's `capnproto`) and of gRPC (without protoc).
use tonic_build::manual::{Builder, Method, Service};

fn main() {
    capnpc::CompilerCommand::new()
        .file("echo.capnp")
        .run()
        .expect("`capnp` of Debian's capnproto compiles the schema");
    let method = |name: &str, route: &str, input: &str| {
        Method::builder()
            .name(name)
            .route_name(route)
            .input_type(input)
            .output_type("crate::grpc::Data")
            .codec_path("tonic_prost::ProstCodec")
            .build()
    };
    let service = Service::builder()
        .name("Echo")
        .package("span")
        .method(method("echo", "Echo", "crate::grpc::Data"))
        .method(method("give", "Give", "crate::grpc::Length"))
        .build();
    Builder::new().compile(&[service]);
}
