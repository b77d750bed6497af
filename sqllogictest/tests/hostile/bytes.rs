//! Conversations that are cut off, spoilt, and sent in another order.

use std::net::SocketAddr;
use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::Semaphore;

use crate::wire::{check_answer, conversations, send};
use crate::{Victim, from_environment, seed};

/// Connections at a time.
const AT_ONCE: usize = 16;

/// Sends each of these on a connection of its own.
async fn send_all(address: SocketAddr, cases: impl Iterator<Item = Vec<u8>>) -> usize {
    let room = Arc::new(Semaphore::new(AT_ONCE));
    let mut sent = Vec::new();
    for bytes in cases {
        let permit = Arc::clone(&room).acquire_owned().await.expect("it is open");
        sent.push(tokio::spawn(async move {
            let answer = send(address, &bytes).await;
            check_answer(&answer, &bytes);
            drop(permit);
        }));
    }
    let count = sent.len();
    for case in sent {
        case.await.expect("whole messages");
    }
    count
}

#[tokio::test(flavor = "multi_thread")]
async fn conversations_are_cut_at_every_byte() {
    let victim = Victim::new().await;
    let whole: Vec<Vec<u8>> = conversations()
        .iter()
        .map(|messages| messages.concat())
        .collect();
    let cuts = whole
        .iter()
        .flat_map(|bytes| (0..=bytes.len()).map(|end| bytes[..end].to_vec()));
    let cases = send_all(victim.server.address(), cuts).await;
    victim.check("cut", cases).await;
}

/// A conversation with something wrong in it.
fn spoilt(random: &mut StdRng, all: &[Vec<Vec<u8>>]) -> Vec<u8> {
    let mut messages = all[random.random_range(0..all.len())].clone();
    // The first one opens the connection: it is spoilt less often.
    let first = usize::from(messages.len() > 1 && random.random_bool(0.9));
    for _ in 0..random.random_range(1..4) {
        let at = random.random_range(first..messages.len());
        match random.random_range(0..8) {
            0 if messages.len() > first + 1 => drop(messages.remove(at)),
            1 => {
                let other = &all[random.random_range(0..all.len())];
                messages.insert(at, other[random.random_range(0..other.len())].clone());
            }
            2 => {
                let other = random.random_range(first..messages.len());
                messages.swap(at, other);
            }
            3 if messages[at].len() >= 5 => {
                // A declared length, and those that are just out of bounds.
                let lengths = [0, 3, 4, 5, 1 << 16, 1 << 24, 0x7fff_ffff, u32::MAX];
                let length = lengths[random.random_range(0..lengths.len())];
                messages[at][1..5].copy_from_slice(&length.to_be_bytes());
            }
            4 => {
                let end = random.random_range(0..=messages[at].len());
                messages[at].truncate(end);
            }
            5 => {
                let place = random.random_range(0..=messages[at].len());
                let byte = random.random();
                messages[at].insert(place, byte);
            }
            6 if !messages[at].is_empty() => messages[at][0] = random.random(),
            _ if !messages[at].is_empty() => {
                let place = random.random_range(0..messages[at].len());
                messages[at][place] ^= 1 << random.random_range(0..8);
            }
            _ => {}
        }
        if messages.len() <= first {
            break;
        }
    }
    messages.concat()
}

/// `CASES=n` sends so many.
#[tokio::test(flavor = "multi_thread")]
async fn spoilt_conversations_harm_nobody() {
    let cases = from_environment("CASES").unwrap_or(600) as usize;
    let victim = Victim::new().await;
    let all = conversations();
    let mut random = StdRng::seed_from_u64(seed());
    let spoilt = (0..cases).map(|_| spoilt(&mut random, &all));
    let cases = send_all(victim.server.address(), spoilt).await;
    victim.check("spoilt", cases).await;
}
