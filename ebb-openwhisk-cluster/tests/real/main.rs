//! The real clients: CouchDB's against a server that answers as CouchDB is documented to, Kafka's against librdkafka's own mock of a
//! cluster (which behaves as Kafka where small brokers do not: errors, brokers that are away, group rebalances), and the whole program
//! against a broker, with functions in Node.

// The machines of a test are this program.
use ebb_invoker_hosted as _;
use ebb_launch as _;

mod controller;
mod couchdb;
mod eyes;
mod faults;
mod kafka;
mod kcat;
mod machines;
mod messages;
mod program;
mod restarts;
mod running;
