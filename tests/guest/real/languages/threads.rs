// Rust: threads, channels, unwinding, collections, a child process, files.
use std::collections::BTreeMap;
use std::io::Write;
use std::panic;
use std::process::{exit, Command};
use std::sync::{mpsc, Arc, Mutex};
use std::thread;

struct Loud(i32);
impl Drop for Loud {
    fn drop(&mut self) {
        println!("gone: {}", self.0);
    }
}

fn deep(n: i32) {
    let _here = Loud(n);
    if n == 0 {
        panic!("the bottom");
    }
    deep(n - 1);
}

fn main() {
    panic::set_hook(Box::new(|_| {}));
    println!("unwound: {}", panic::catch_unwind(|| deep(2)).is_err());
    let total = Arc::new(Mutex::new(0));
    let (tx, rx) = mpsc::channel();
    let threads: Vec<_> = (0..8)
        .map(|i| {
            let (total, tx) = (total.clone(), tx.clone());
            thread::spawn(move || {
                *total.lock().unwrap() += i;
                tx.send(i * i).unwrap();
            })
        })
        .collect();
    drop(tx);
    for t in threads {
        t.join().unwrap();
    }
    let mut squares: Vec<i32> = rx.iter().collect();
    squares.sort();
    println!("{} {:?}", total.lock().unwrap(), squares);
    println!("a thread's panic: {}", thread::spawn(|| panic!("there")).join().is_err());
    let mut words = BTreeMap::new();
    for w in "b a b c".split(' ') {
        *words.entry(w).or_insert(0) += 1;
    }
    println!("{:?} {:.3}", words, 2f64.sqrt());
    let out = Command::new("sh").args(["-c", "echo child; exit 3"]).output().unwrap();
    println!("{:?} {:?}", out.status.code(), String::from_utf8_lossy(&out.stdout));
    let mut f = std::fs::File::create("/tmp/rust").unwrap();
    f.write_all(b"text").unwrap();
    println!("{} {:?}", std::fs::read_to_string("/tmp/rust").unwrap(), std::fs::read("/nothing").map_err(|e| e.kind()));
    exit(6);
}
