//! Who waits for replicas or for the disk (WAIT, WAITAOF): for what, and whether it is there.
//!
//! A client waits for what it has changed itself. Where that ends in the stream and in the append-only file is noted
//! when it is propagated, never too near.
use super::Stage;
use crate::state::State;
use crate::state::aof::Mode;
use crate::state::client::ClientId;

/// A place in what is propagated: behind the last byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Place {
    /// In the stream.
    pub stream: u64,
    /// In all that was ever taken into the append-only file.
    pub file: u64,
}

/// What a client waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Awaited {
    pub place: Place,
    /// So many replicas have applied it or, with `disk`, have it on disk.
    pub replicas: u64,
    /// It is on this server's disk (1), or that is not asked (0); `None`: WAIT, which does not speak of disks.
    pub disk: Option<u8>,
}

/// How much of it is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct There {
    pub local: u8,
    pub replicas: u64,
}

impl State {
    /// Where what was propagated up to now ends, whether or not it has been taken yet.
    #[inline]
    pub fn place(&self) -> Place {
        let log = &self.prop.log;
        let stream = match self.repl.feeds() {
            true => self.repl.offset + log.unfed() as u64,
            false => self.repl.offset,
        };
        Place {
            stream,
            file: self.aof.taken + log.bytes.len() as u64,
        }
    }

    /// The client's request was propagated: it is what it may wait for.
    #[inline]
    pub fn note_written(&mut self, who: ClientId) {
        let place = self.place();
        if let Some(client) = self.clients.get_mut(who) {
            client.written = place;
        }
    }

    /// What a client has changed last; not beyond what there is by now.
    pub fn written(&self, who: ClientId) -> Place {
        let (now, client) = (self.place(), self.clients.get(who));
        let noted = client.map_or(now, |client| client.written);
        Place {
            stream: noted.stream.min(now.stream),
            file: noted.file.min(now.file),
        }
    }

    /// How much of it there is by now.
    pub fn there(&self, awaited: &Awaited) -> There {
        let place = awaited.place;
        let has = |acked: Option<u64>| acked.is_some_and(|offset| offset >= place.stream);
        let online = self.repl.replicas.iter();
        let online = online.filter(|one| one.stage == Stage::Online && !one.old);
        let replicas = match awaited.disk {
            None => online.filter(|one| has(Some(one.acked))).count(),
            Some(_) => online.filter(|one| has(one.acked_on_disk)).count(),
        };
        let on_disk = self.aof.mode == Mode::On && self.aof.synced.file >= place.file;
        There {
            local: u8::from(on_disk),
            replicas: replicas as u64,
        }
    }

    /// Is all of it there?
    pub fn is_there(&self, awaited: &Awaited) -> bool {
        let there = self.there(awaited);
        there.replicas >= awaited.replicas && there.local >= awaited.disk.unwrap_or(0)
    }
}
