//! The directives' words: every enum that a configuration file can name.

use super::setting::choices;

choices! {
    /// How much is logged.
    Loglevel {
        /// Everything.
        Debug = "debug",
        /// Connections and the like.
        Verbose = "verbose",
        /// What an operator wants to know.
        Notice = "notice",
        /// Only what needs attention.
        Warning = "warning",
        /// Nothing at all.
        Nothing = "nothing",
    }

    /// What gives way when memory is full.
    MaxmemoryPolicy {
        /// Least recently used of the keys with an expiry.
        VolatileLru = "volatile-lru",
        /// Least frequently used of the keys with an expiry.
        VolatileLfu = "volatile-lfu",
        /// Any of the keys with an expiry.
        VolatileRandom = "volatile-random",
        /// The key that expires first.
        VolatileTtl = "volatile-ttl",
        /// Least recently used.
        AllkeysLru = "allkeys-lru",
        /// Least frequently used.
        AllkeysLfu = "allkeys-lfu",
        /// Any key.
        AllkeysRandom = "allkeys-random",
        /// Nothing: writes that need memory are refused.
        Noeviction = "noeviction",
    }

    /// When the append-only file reaches the disk.
    Appendfsync {
        /// Once a second, in the background.
        Everysec = "everysec",
        /// Before the reply.
        Always = "always",
        /// When the system does.
        No = "no",
    }

    /// Where a replica puts a dataset that arrives without a file.
    ReplDisklessLoad {
        /// On disk first.
        Disabled = "disabled",
        /// Straight into memory where there is nothing yet.
        OnEmptyDb = "on-empty-db",
        /// Into a second set of databases that then takes over.
        Swapdb = "swapdb",
    }

    /// Whether a TLS client must show a certificate.
    TlsAuthClients {
        /// Not asked for.
        No = "no",
        /// Required.
        Yes = "yes",
        /// Checked where given.
        Optional = "optional",
    }

    /// What of a TLS client's certificate names the user it is.
    TlsAuthClientsUser {
        /// Nothing.
        Off = "off",
        /// The subject's common name.
        Cn = "CN",
        /// The first URI among its alternative names that is a user's name.
        Uri = "URI",
    }

    /// Who supervises the process.
    Supervised {
        /// upstart.
        Upstart = "upstart",
        /// systemd.
        Systemd = "systemd",
        /// Whoever the environment names.
        Auto = "auto",
        /// Nobody.
        No = "no",
    }

    /// The system log's facility.
    SyslogFacility {
        /// user
        User = "user",
        /// local0
        Local0 = "local0",
        /// local1
        Local1 = "local1",
        /// local2
        Local2 = "local2",
        /// local3
        Local3 = "local3",
        /// local4
        Local4 = "local4",
        /// local5
        Local5 = "local5",
        /// local6
        Local6 = "local6",
        /// local7
        Local7 = "local7",
    }

    /// Whether the server sets its own out-of-memory score.
    OomScoreAdj {
        /// It does not.
        No = "no",
        /// Relative to the score at the start.
        Relative = "yes" | "relative",
        /// The values as they are.
        Absolute = "absolute",
    }

    /// How new passwords of users are kept.
    PasswordKdf {
        /// Their digest.
        Sha256 = "sha256",
        /// What costs memory and time to derive.
        Argon2id = "argon2id",
    }

    /// The channels a new user may use.
    AclPubsubDefault {
        /// All.
        Allchannels = "allchannels",
        /// None.
        Resetchannels = "resetchannels",
    }

    /// Whether payloads of RESTORE are checked in depth.
    SanitizeDumpPayload {
        /// Never.
        No = "no",
        /// Always.
        Yes = "yes",
        /// When they come from clients.
        Clients = "clients",
    }

    /// Who may do a protected thing.
    ProtectedAction {
        /// Nobody.
        No = "no",
        /// Anybody with the rights.
        Yes = "yes",
        /// Only connections from this machine.
        Local = "local",
    }

    /// How a cluster node names itself to clients.
    PreferredEndpointType {
        /// By address.
        Ip = "ip",
        /// By host name.
        Hostname = "hostname",
        /// Not at all.
        UnknownEndpoint = "unknown-endpoint",
    }

    /// What happens when a propagated command fails.
    PropagationErrorBehavior {
        /// Nothing.
        Ignore = "ignore",
        /// The process ends.
        Panic = "panic",
        /// The process ends, on replicas only.
        PanicOnReplicas = "panic-on-replicas",
    }
}
