//! Names of hosts: whoever knows them may take seconds to answer, on a thread of its own.
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::thread::Builder;

/// A question that is asked.
pub(super) struct Question(Receiver<io::Result<Vec<SocketAddr>>>);

/// What a host's name means.
pub(super) enum Found {
    Now(SocketAddr),
    Later(Question),
}

/// An address is what it says; a name is asked for.
pub(super) fn resolve(host: &str, port: u16) -> io::Result<Found> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(Found::Now(SocketAddr::new(ip, port)));
    }
    let (sender, receiver) = channel();
    let host = host.to_owned();
    Builder::new()
        .name("rv_resolve".to_owned())
        .spawn(move || {
            let found = (host.as_str(), port).to_socket_addrs();
            // Nobody may wait for it any more.
            let _ = sender.send(found.map(Iterator::collect));
        })?;
    Ok(Found::Later(Question(receiver)))
}

impl Question {
    /// The answer, if it is there: of several addresses another one each `time`.
    pub(super) fn answer(&self, time: usize) -> Option<io::Result<SocketAddr>> {
        let unknown = || io::Error::new(io::ErrorKind::NotFound, "Name or service not known");
        match self.0.try_recv() {
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(Err(unknown())),
            Ok(Err(error)) => Some(Err(error)),
            Ok(Ok(list)) => {
                let address = list.get(time % list.len().max(1));
                Some(address.copied().ok_or_else(unknown))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_of_a_name_has_its_turn() {
        // Only the first one was ever tried: with nobody at ::1 nothing followed "localhost".
        let list: Vec<SocketAddr> = ["[::1]:7000", "127.0.0.1:7000"]
            .map(|text| text.parse().expect("an address"))
            .to_vec();
        let found = |time: usize, list: &[SocketAddr]| {
            let (sender, receiver) = channel();
            sender.send(Ok(list.to_vec())).expect("it listens");
            let answer = Question(receiver).answer(time).expect("it is there");
            answer.map_err(|error| error.kind())
        };
        let times: Vec<_> = (0..3).map(|time| found(time, &list)).collect();
        assert_eq!(times, [Ok(list[0]), Ok(list[1]), Ok(list[0])]);
        assert_eq!(found(1, &[]), Err(io::ErrorKind::NotFound));
    }
}
