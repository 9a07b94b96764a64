//! An ordinary Rust program with threads, sockets and children. Built with rustc, for the host.
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex, mpsc};
use std::thread;

fn main() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = thread::spawn(move || {
        for stream in listener.incoming().take(16) {
            thread::spawn(move || {
                let mut stream = BufReader::new(stream.unwrap());
                let mut line = String::new();
                while stream.read_line(&mut line).unwrap() > 0 {
                    stream.get_mut().write_all(line.to_uppercase().as_bytes()).unwrap();
                    line.clear();
                }
            });
        }
    });
    let total = Arc::new(Mutex::new(0));
    let (tell, told) = mpsc::channel();
    for n in 0..16 {
        let (total, tell) = (total.clone(), tell.clone());
        thread::spawn(move || {
            let mut stream = BufReader::new(TcpStream::connect(address).unwrap());
            for i in 0..20 {
                write!(stream.get_mut(), "client {n} line {i}\n").unwrap();
                let mut line = String::new();
                stream.read_line(&mut line).unwrap();
                assert_eq!(line, format!("CLIENT {n} LINE {i}\n"));
                *total.lock().unwrap() += 1;
            }
            tell.send(n).unwrap();
        });
    }
    drop(tell);
    let mut done: Vec<i32> = told.iter().collect();
    done.sort();
    server.join().unwrap();
    assert_eq!(done, (0..16).collect::<Vec<_>>());
    let child = Command::new("/bin/busybox").args(["echo", "child"]).output().unwrap();
    assert_eq!(child.stdout, b"child\n");
    assert!(Command::new("/no/such").status().is_err());
    let panicked = thread::spawn(|| std::panic::catch_unwind(|| panic!("caught")).is_err());
    assert!(panicked.join().unwrap());
    println!("{} lines, well", total.lock().unwrap());
}
