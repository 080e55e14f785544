# Sourced by the private copy of the suite's tests/test_helper.tcl, so that one failure costs one test:
#   - one event line for each of the harness's messages goes to $COMPAT_EVENTS, for unit.py to read
#   - --durable is made complete: an error inside a test fails that test only; an error between tests is
#     recorded and the commands behind it still run
#   - replies and starting servers are awaited for a bounded time, and a server that died is noticed
#   - a failed test leaves every server alive, its main client in step, and settings as they were
fconfigure stdout -buffering line
proc compat_env {name def} {
    if {[info exists ::env($name)] && $::env($name) ne ""} {return $::env($name)}
    return $def
}
set ::compat_read_timeout [expr {int(1000*[compat_env COMPAT_READ_TIMEOUT 30])}]
set ::compat_start_timeout [compat_env COMPAT_START_TIMEOUT 30]
set ::compat_ready_timeout [compat_env COMPAT_READY_TIMEOUT 45]
set ::compat_ev_fd {}
proc compat_event {status data elapsed} {
    if {![info exists ::env(COMPAT_EVENTS)]} return
    if {$::compat_ev_fd eq {}} {
        set ::compat_ev_fd [open $::env(COMPAT_EVENTS) a]
        fconfigure $::compat_ev_fd -buffering line -translation lf -encoding binary
    }
    puts $::compat_ev_fd "$status\t[binary encode base64 $data]\t$elapsed"
}
# Evaluate a script command by command in the frame LEVEL levels above the caller; an error ends
# only the command that raised it (outside of a test; inside a test errors propagate).
proc compat_block {level code} {
    incr level
    if {!$::durable || $::cur_test ne ""} {
        return [uplevel $level $code]
    }
    set nsrv [llength $::servers]
    set tags $::tags
    set singledb $::singledb
    set buf ""
    set res ""
    foreach line [split $code "\n"] {
        append buf $line "\n"
        if {![info complete $buf]} continue
        set cmd $buf
        set buf ""
        if {[string trim $cmd] eq ""} continue
        set rc [catch {uplevel $level $cmd} res opts]
        if {$rc == 1} {
            compat_block_error $res $::errorInfo
            while {[llength $::servers] > $nsrv} {
                catch {exec kill -9 [dict get [lindex $::servers end] pid]}
                set ::servers [lrange $::servers 0 end-1]
            }
            set ::tags $tags
            set ::singledb $singledb
            set ::cur_test ""
            if {$nsrv > 0} {compat_heal}
        } elseif {$rc != 0} {
            return -options $opts $res
        }
    }
    if {[string trim $buf] ne ""} {
        compat_block_error "unbalanced script" $buf
    }
    return $res
}
proc compat_block_error {err info} {
    if {[string match "assertion:*" $err]} {set err [string range $err 10 end]}
    incr ::num_failed
    send_data_packet $::test_server_fd err "\[block exception\] in $::curfile\n$err\n$info"
}
proc compat_source {path} {
    set fp [open $path r]
    set code [read $fp]
    close $fp
    set rc [catch {compat_block 1 $code} res opts]
    if {$rc == 1} {return -options $opts $res}
    return ""
}

# ---- bounded reads
proc compat_wait_readable {fd} {
    if {$::tls || $::compat_read_timeout <= 0} return
    if {[catch {chan pending input $fd} n] || $n > 0} return
    if {![fconfigure $fd -blocking]} return
    set id [after $::compat_read_timeout [list set ::compat_w($fd) timeout]]
    set old [fileevent $fd readable]
    fileevent $fd readable [list set ::compat_w($fd) ok]
    vwait ::compat_w($fd)
    after cancel $id
    fileevent $fd readable $old
    set r $::compat_w($fd)
    set was $::compat_read_timeout
    unset ::compat_w($fd)
    if {$r eq "timeout"} {
        # many missing replies must not eat the time of the whole unit
        if {$::compat_read_timeout > 6000} {
            set ::compat_read_timeout [expr {max(6000, $::compat_read_timeout*7/10)}]
        }
        error "I/O timeout: no reply (limit $was ms)"
    }
}
foreach p {read gets} {
    rename ::redis::redis_safe_$p ::redis::compat_safe_$p
}
proc ::redis::redis_safe_read {fd len} {::compat_wait_readable $fd; compat_safe_read $fd $len}
proc ::redis::redis_safe_gets {fd} {::compat_wait_readable $fd; compat_safe_gets $fd}

# ---- starting servers
proc compat_pid_dead {pid} {
    # exec reaps finished background children, so a dead server does not stay a zombie
    return [catch {exec kill -0 $pid}]
}
proc compat_ready_guard {varname pid stdout} {
    upvar $varname t0
    if {![info exists t0]} {set t0 [clock seconds]}
    set dead [compat_pid_dead $pid]
    if {$dead || [clock seconds]-$t0 > $::compat_ready_timeout} {
        if {$dead} {after 20}
        set tail ""
        catch {set tail [exec tail -n 15 $stdout]}
        if {$dead && [string match "*Ready to accept*" $tail]} {
            error "assertion:server pid $pid died right after start, log tail:\n$tail"
        }
        catch {exec kill -9 $pid}
        error "assertion:server pid $pid [expr {$dead ? {died} : {never logged 'Ready to accept'}}], log tail:\n$tail"
    }
}

# ---- after a failed test
proc compat_reset_client {client host port srv} {
    regexp {^::([a-z]+)::[a-zA-Z]*?Handle([0-9]+)$} $client _ ns id
    upvar #0 ::${ns}::fd fds ::${ns}::blocking blocking ::${ns}::deferred deferred ::${ns}::readraw readraw
    catch {close $fds($id)}
    # Its first connection has told the package which certificates are shown.
    set fds($id) [if {$::tls} {::tls::socket $host $port} else {socket $host $port}]
    fconfigure $fds($id) -translation binary
    set blocking($id) 1
    set deferred($id) 0
    set readraw($id) 0
    if {![dict exists [dict get $srv config] requirepass] && !$::singledb} {catch {$client select 9}}
}
proc compat_client_sane {client} {
    if {![regexp {^::([a-z]+)::[a-zA-Z]*?Handle([0-9]+)$} $client _ ns id]} {return 1}
    upvar #0 ::${ns}::fd fds ::${ns}::blocking blocking ::${ns}::deferred deferred ::${ns}::readraw readraw
    if {![info exists fds($id)]} {return 1}
    if {$fds($id) eq {} || !$blocking($id) || $deferred($id) || $readraw($id)} {return 0}
    set save $::compat_read_timeout
    set ::compat_read_timeout 4000
    set rc [catch {$client ping} res]
    set ::compat_read_timeout $save
    if {$rc == 0} {return [expr {$res eq "PONG"}]}
    # an error REPLY (NOAUTH, LOADING, MASTERDOWN, OOM...) is a sane connection; I/O trouble is not
    return [regexp {^[A-Z]+ } $res]
}
proc compat_restart {j} {
    set srv [lindex $::servers $j]
    set pid [spawn_server [dict get $srv config_file] [dict get $srv stdout] [dict get $srv stderr] {}]
    dict set srv pid $pid
    lset ::servers $j $srv
    for {set i 0} {$i < 100} {incr i} {
        if {[ping_server [dict get $srv host] [dict get $srv port]]} break
        if {[compat_pid_dead $pid]} break
        after 50
    }
    compat_event restarted $pid 0
}
# Bring every server of the stack and its main client back into a usable state.
proc compat_heal {} {
    for {set j 0} {$j < [llength $::servers]} {incr j} {
        for {set try 0} {$try < 4} {incr try} {
            set srv [lindex $::servers $j]
            if {![dict exists $srv client]} break
            if {[compat_pid_dead [dict get $srv pid]]} {
                if {[catch {compat_restart $j} e]} {puts "compat: restart failed: $e"; break}
                set srv [lindex $::servers $j]
            }
            set client [dict get $srv client]
            if {[compat_client_sane $client]} break
            if {[catch {compat_reset_client $client [dict get $srv host] [dict get $srv port] $srv}]} {
                after 300     ;# the process may be on its way out
                continue
            }
            if {[compat_client_sane $client]} break
            puts "compat: server [dict get $srv pid] accepts but does not answer: killed"
            catch {exec kill -9 [dict get $srv pid]}
            after 100
        }
    }
}
rename test compat_orig_test
proc test {args} {
    set failed $::num_failed
    set ::compat_settings {}
    set rc [catch {uplevel 1 [linsert $args 0 compat_orig_test]} res opts]
    if {$::durable && $::num_failed > $failed} {
        catch {compat_heal}
        foreach {was param} [lreverse $::compat_settings] {catch {r config set $param $was}}
        # A snapshot that it broke off would have the server refuse the writes of the tests behind it.
        catch {
            if {[s rdb_last_bgsave_status] eq "err"} {
                r config set rdb-key-save-delay 0
                r save
            }
        }
    }
    if {$rc} {return -options $opts $res}
    return $res
}
# What a test sets for its own time is put back when it fails before it does so itself.
set ::compat_settings {}
rename config_get_set compat_orig_config_get_set
proc config_get_set {param value {options {}}} {
    set was [compat_orig_config_get_set $param $value $options]
    lappend ::compat_settings $param $was
    return $was
}
# Names of encodings are 7.2's: it keeps small lists, and small sets of texts, as listpacks. This suite,
# written for 7.0, calls them quicklist and hashtable; what its tests do behind that is as good.
rename assert_encoding compat_orig_assert_encoding
proc assert_encoding {enc key} {
    if {$enc in {quicklist hashtable} && [r type $key] in {list set} && [r object encoding $key] eq "listpack"} return
    compat_orig_assert_encoding $enc $key
}
