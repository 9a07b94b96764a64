//! A server that answers as CouchDB does, as far as an invoker asks it, and fails as the test wants.
//!
//! From CouchDB's documentation: a GET gives the newest revision whatever `If-Match` says; a PUT of a document that is there without its
//! revision is 409; `_bulk_docs` is 201 with one result for each.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use serde_json::{Value, json};

/// What the next request meets.
#[derive(Clone, Debug)]
pub enum Fault {
    /// This status.
    Status(u16),
    /// No answer for so long, and then the connection's end.
    Silence(Duration),
    /// The connection ends within the answer.
    Cut,
}

/// What it has and was asked.
#[derive(Default)]
pub struct State {
    documents: BTreeMap<String, Value>,
    attachments: BTreeMap<String, Vec<u8>>,
    /// The namespaces of the view.
    pub blocked: Vec<String>,
    /// Faults, each with what must be in the request's line for it.
    faults: Vec<(String, Fault)>,
    /// The lines of all requests, with `If-Match`.
    pub requests: Vec<String>,
    connections: usize,
}

/// The server. It ends with the process.
#[derive(Clone)]
pub struct Couch {
    state: Arc<Mutex<State>>,
    address: SocketAddr,
}

const WHO: &str = "Basic d2hpc2s6c2VjcmV0"; // whisk:secret

impl Couch {
    /// Starts one.
    ///
    /// # Panics
    /// When there is no port for it.
    pub fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let address = listener.local_addr().expect("an address");
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&shared);
                state.lock().expect("no panic").connections += 1;
                std::thread::spawn(move || serve(&stream, &state));
            }
        });
        Self { state, address }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The same, with who may ask.
    pub fn url(&self) -> String {
        format!("http://whisk:secret@{}", self.address)
    }

    /// What it has.
    ///
    /// # Panics
    /// When one of its threads has.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic")
    }

    /// Stores an action; its revision comes back.
    ///
    /// # Panics
    /// When the document has no `_id`.
    pub fn put_action(&self, document: &Value) -> String {
        let key = format!("whisks/{}", document["_id"].as_str().expect("an id"));
        let mut state = self.state();
        let last = state.documents.get(&key).and_then(|d| d["_rev"].as_str());
        let last = last.and_then(|rev| rev.split('-').next()?.parse::<u32>().ok());
        let revision = format!("{}-abc", last.unwrap_or(0) + 1);
        let mut document = document.clone();
        document["_rev"] = revision.clone().into();
        state.documents.insert(key, document);
        revision
    }

    /// Says what the limits of a namespace are.
    pub fn put_limits(&self, namespace: &str, limits: &Value) {
        let key = format!("subjects/{namespace}/limits");
        self.state().documents.insert(key, limits.clone());
    }

    /// Stores an attachment.
    pub fn put_attachment(&self, id: &str, name: &str, bytes: &[u8]) {
        let key = format!("whisks/{id}/{name}");
        self.state().attachments.insert(key, bytes.to_vec());
    }

    /// The next request with this in its line meets a fault.
    pub fn fail(&self, line: &str, fault: Fault) {
        self.state().faults.push((line.into(), fault));
    }

    /// Takes back the faults that requests with this have not met.
    pub fn mend(&self, line: &str) {
        self.state().faults.retain(|(of, _)| of != line);
    }

    /// The records that it was given, by their ids.
    pub fn records(&self) -> BTreeMap<String, Value> {
        let state = self.state();
        let of_records = state.documents.iter().filter_map(|(key, document)| {
            Some((
                key.strip_prefix("activations/")?.to_owned(),
                document.clone(),
            ))
        });
        of_records.collect()
    }

    /// Connections that were made to it.
    pub fn connections(&self) -> usize {
        self.state().connections
    }
}

fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let (mut out, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        if bytes[at] == b'%' {
            out.push(u8::from_str_radix(&text[at + 1..at + 3], 16).expect("hex"));
            at += 3;
        } else {
            out.push(bytes[at]);
            at += 1;
        }
    }
    String::from_utf8(out).expect("UTF-8")
}

fn serve(stream: &TcpStream, state: &Mutex<State>) {
    let mut reader = BufReader::new(stream);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        let (mut length, mut tag, mut who) = (0, String::new(), String::new());
        loop {
            let mut header = String::new();
            reader.read_line(&mut header).expect("a header");
            let Some((name, value)) = header.trim().split_once(':') else {
                break;
            };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.trim().parse().expect("a length"),
                "if-match" => tag = value.trim().to_owned(),
                "authorization" => who = value.trim().to_owned(),
                _ => {}
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).expect("the body");
        let mut parts = line.split_whitespace();
        let (method, target) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
        let fault = {
            let mut state = state.lock().expect("no panic");
            state.requests.push(format!("{method} {target} {tag}"));
            let at = state
                .faults
                .iter()
                .position(|(part, _)| line.contains(part.as_str()));
            at.map(|at| state.faults.remove(at).1)
        };
        let (status, answer) = match fault {
            Some(Fault::Silence(time)) => return std::thread::sleep(time),
            Some(Fault::Cut) => {
                let _ =
                    (&*stream).write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{\"half");
                return;
            }
            Some(Fault::Status(status)) => (
                status,
                br#"{"error":"x","reason":"as the test wants it"}"#.to_vec(),
            ),
            None if who != WHO => (401, br#"{"error":"unauthorized"}"#.to_vec()),
            None => answer(&mut state.lock().expect("no panic"), method, target, &body),
        };
        let head = format!(
            "HTTP/1.1 {status} Status\r\ncontent-length: {}\r\n\r\n",
            answer.len()
        );
        if (&*stream)
            .write_all(&[head.as_bytes(), &answer].concat())
            .is_err()
        {
            return;
        }
    }
}

fn answer(state: &mut State, method: &str, target: &str, body: &[u8]) -> (u16, Vec<u8>) {
    let path = target.split('?').next().unwrap_or_default();
    let key: Vec<String> = path
        .trim_start_matches('/')
        .split('/')
        .map(decoded)
        .collect();
    let key = key.join("/");
    let json = |status, value: Value| (status, value.to_string().into_bytes());
    if key == "subjects/_design/namespaceThrottlings/_view/blockedNamespaces" {
        let rows: Vec<Value> = state
            .blocked
            .iter()
            .map(|name| json!({"key": name}))
            .collect();
        return json(200, json!({"total_rows": rows.len(), "rows": rows}));
    }
    match method {
        "GET" => match (state.documents.get(&key), state.attachments.get(&key)) {
            (Some(document), _) => json(200, document.clone()),
            (None, Some(bytes)) => (200, bytes.clone()),
            (None, None) => json(404, json!({"error": "not_found", "reason": "missing"})),
        },
        "PUT" => {
            let mut document: Value = serde_json::from_slice(body).expect("JSON");
            document["_rev"] = "1-put".into();
            let is_there = state.documents.contains_key(&key);
            if is_there {
                return json(409, json!({"error": "conflict"}));
            }
            state.documents.insert(key, document);
            json(201, json!({"ok": true}))
        }
        "POST" => {
            let documents: Value = serde_json::from_slice(body).expect("JSON");
            let database = key.split('/').next().expect("a database").to_owned();
            let documents = documents["docs"].as_array().expect("a list").clone();
            let results = documents.into_iter().map(|document| {
                let id = document["_id"].as_str().expect("an id").to_owned();
                match state.documents.insert(format!("{database}/{id}"), document) {
                    None => json!({"ok": true, "id": id, "rev": "1-x"}),
                    Some(_) => json!({"id": id, "error": "conflict", "reason": "Document update conflict."}),
                }
            });
            let results: Vec<Value> = results.collect();
            json(201, Value::Array(results))
        }
        _ => json(405, json!({})),
    }
}
