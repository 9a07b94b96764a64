//! What tests of machines in threads share: their key and addresses, a front end before them, and calls.

use std::{
    net::{SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};

use ebb_distributed::{Config, Key, NodeId, introduce, join};
use ebb_invoker_machines::Machines;
use ebb_openwhisk::call::{Call, Caller};
use ebb_openwhisk::entity::{Action, Code, Common, Exec, Version};
use ebb_openwhisk::json::Json;
use ebb_openwhisk::limits::ActionLimits;
use ebb_openwhisk::name::FullName;
use ebb_openwhisk::runtimes::{Launch, Loader, Runtime};

/// How a node joins at this address.
pub fn node_at(node: NodeId, address: impl Into<SocketAddr>) -> Config {
    Config::new(node, Key::new([7; 32]), address)
}

pub fn free_address() -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    listener.local_addr().expect("its address")
}

/// One core, for a machine or a front end.
pub fn one_core() -> ebb_hosted::Config {
    ebb_hosted::Config {
        cores: 1,
        pin: false,
    }
}

/// Runs a front end before machines, which are nodes 1 and up, when all are up.
pub fn before<R: Send + 'static>(
    running: Vec<R>,
    address: fn(&R) -> SocketAddr,
    test: impl AsyncFnOnce(Machines, Vec<R>) + Send + 'static,
) {
    ebb_hosted::run(&one_core(), async move || {
        let front = node_at(NodeId(0), ([127, 0, 0, 1], 0));
        let _server = join(front).await.expect("a free port");
        let machines = Machines::new(Duration::from_secs(1));
        for (node, machine) in (1..).map(NodeId).zip(&running) {
            introduce(node, address(machine));
            machines.add(node, &format!("{}", node.0));
            assert!(machines.until_up(node).await);
        }
        test(machines, running).await;
    });
}

/// A call of a function for Node.
pub fn call(name: &str, revision: u64, code: &str, arguments: &str) -> Call {
    let action = Action {
        common: Common {
            version: Version(0, 0, 3),
            ..Common::new(FullName::packaged("guest", "tools", name))
        },
        exec: Exec::Code(Code {
            runtime: Arc::new(Runtime {
                kind: "nodejs:20".into(),
                is_default: true,
                is_deprecated: false,
                image: String::new(),
                launch: Launch::usual(Loader::Node),
            }),
            image: None,
            code: Json::text(code),
            main: None,
            binary: false,
        }),
        limits: ActionLimits::default(),
        revision,
    };
    Call {
        activation: "a".repeat(32),
        action: Arc::new(action),
        extra: Vec::new(),
        environment: vec![("COLOUR".into(), "red".into())],
        arguments: Json::parse(arguments).expect("JSON"),
        caller: Caller {
            namespace: Arc::from("guest"),
            key: Some(Arc::from("uuid:key")),
            transaction: "t".into(),
        },
        binding: None,
        cause: None,
        received_ms: 5,
        in_parts: false,
    }
}
