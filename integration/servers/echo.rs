// SPDX-License-Identifier: Apache-2.0
// Echo in Rust with std::thread: one thread per connection, a collector thread fed by a channel, totals under a
// Mutex, a Condvar and a parked watcher. Rust's locks are bare futex calls: they never touch pthread_mutex_*.
// A line "total" on a fresh connection is answered by the totals instead of being echoed. SIGTERM kills it.
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{channel, Receiver, Sender};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

#[derive(Default)]
struct Totals {
    connections: usize,
    bytes: usize,
}

type Shared = Arc<(Mutex<Totals>, Condvar)>;

fn echo(mut stream: TcpStream, first: &[u8]) -> std::io::Result<usize> {
    let mut buffer = [0u8; 16384];
    let mut echoed = first.len();
    stream.write_all(first)?;
    loop {
        let got = stream.read(&mut buffer)?;
        if got == 0 {
            return Ok(echoed);
        }
        stream.write_all(&buffer[..got])?;
        echoed += got;
    }
}

// Waits until the collector has heard of `connections` ends, then answers.
fn tell_totals(mut stream: TcpStream, connections: usize, shared: &Shared) -> std::io::Result<()> {
    let (totals, changed) = &**shared;
    let told = changed
        .wait_while(totals.lock().unwrap(), |totals| totals.connections < connections)
        .unwrap();
    writeln!(stream, "{} connections, {} bytes", told.connections, told.bytes)
}

fn serve(mut stream: TcpStream, done: Sender<usize>, shared: Shared) {
    let mut first = [0u8; 64];
    let got = stream.read(&mut first).unwrap_or(0);
    let words = String::from_utf8_lossy(&first[..got]).into_owned();
    if let Some(count) = words.strip_prefix("total ") {
        let _ = tell_totals(stream, count.trim().parse().unwrap(), &shared);
        return;
    }
    let copy = stream.try_clone().unwrap();
    let echoed = echo(stream, &first[..got]).unwrap_or(0);
    let _ = copy.shutdown(Shutdown::Both);
    done.send(echoed).unwrap();
}

fn collect(ended: Receiver<usize>, shared: Shared) {
    for bytes in ended {
        let (totals, changed) = &*shared;
        let mut totals = totals.lock().unwrap();
        totals.connections += 1;
        totals.bytes += bytes;
        changed.notify_all();
    }
}

fn main() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let shared: Shared = Arc::default();
    let (done, ended) = channel();
    let for_collector = shared.clone();
    let starter = thread::current();
    thread::spawn(move || {
        starter.unpark();
        collect(ended, for_collector)
    });
    thread::park();
    println!("listening on {}", listener.local_addr().unwrap().port());
    for stream in listener.incoming() {
        let (done, shared) = (done.clone(), shared.clone());
        thread::spawn(move || serve(stream.unwrap(), done, shared));
    }
}
