package Hive::Test::Process;

# Process.pm: one process of an instance: a direct child of the test, so that
# its pid cannot be taken by another and its end is seen.

use strict;
use warnings;
use POSIX qw(WNOHANG setpgid);
use Time::HiRes qw(sleep time);

# Started by root, Postgres and the workers run as postgres, who owns their
# files, and nginx's workers as www-data.
our $service = $> == 0 ? 'postgres' : scalar getpwuid $>;
our $web     = $> == 0 ? 'www-data' : $service;

# start(name =>, command => [..], log => path, as_service => bool,
#       env => {..}): returns the object at once.
sub start {
    my ($class, %o) = @_;
    my $self = bless { name => $o{name}, log => $o{log} }, $class;
    # should the test be killed, its children go too
    my @wrap = ('setpriv', '--pdeathsig', $o{name} eq 'postgres' ? 'INT' : 'TERM');
    if ($> == 0 && $o{as_service}) {
        my $gid = (getpwnam $service)[3];
        push @wrap, "--reuid=$service", "--regid=$gid", "--groups=$gid," . getgrnam $web;
    }
    my @command = (@wrap, @{ $o{command} });
    my $pid = fork // die "fork: $!\n";
    if (!$pid) {
        setpgid 0, 0;
        chdir '/';
        open STDIN, '<', '/dev/null';
        open STDOUT, '>>', $o{log} or POSIX::_exit(126);
        open STDERR, '>&', \*STDOUT;
        $SIG{$_} = 'DEFAULT' for qw(INT TERM HUP PIPE);
        delete @ENV{ grep { /^(?:HIVE_|PG)/ && !/^HIVE_TEST_/ } keys %ENV };
        @ENV{ keys %{ $o{env} } } = values %{ $o{env} } if $o{env};
        { no warnings; exec { $command[0] } @command }
        print STDERR "$command[0]: $!\n";
        POSIX::_exit(127);
    }
    $self->{pid} = $pid;
    $self->{owner} = $$;
    return $self;
}

sub pid { $_[0]{pid} }

# True while it runs; afterwards {status} is what wait returned.
sub alive {
    my ($self) = @_;
    return 0 if defined $self->{status};
    my $got = waitpid $self->{pid}, WNOHANG;
    return 1 if $got == 0;
    $self->{status} = $got == $self->{pid} ? $? : -1;
    return 0;
}

# Waits at most that long for the end; true when it has ended.
sub wait_end {
    my ($self, $seconds) = @_;
    my $until = time + $seconds;
    while ($self->alive) {
        return 0 if time > $until;
        sleep 0.02;
    }
    return 1;
}

sub signal {
    my ($self, $signal) = @_;
    return $self->alive && kill $signal, $self->{pid};
}

# Asks it to stop; kills it and all of its group after that long. Returns
# what was wrong with its end, '' when nothing.
sub stop {
    my ($self, $signal, $seconds) = @_;
    my $asked = $self->alive;
    my $wrong = '';
    if ($asked) {
        my @below = descendants($self->{pid});
        $self->signal($signal);
        if (!$self->wait_end($seconds)) {
            $wrong = "$self->{name} did not stop within $seconds s of SIG$signal";
            kill 'KILL', $self->{pid}, @below;
            $self->wait_end(5);
        }
        elsif ($self->{status}) {
            $wrong = "$self->{name} ended with status $self->{status}";
        }
    }
    kill 'KILL', -$self->{pid};
    return $wrong;
}

# ---- /proc ----

# [pid, ppid, state] of every process.
sub table {
    my @all;
    for my $path (glob '/proc/[0-9]*/stat') {
        open my $fh, '<', $path or next;
        my $line = <$fh> // next;
        push @all, [$1, $3, $2] if $line =~ /^(\d+) \(.*\) (\S) (\d+) /s;
    }
    return @all;
}

# Pids of the running children of a process, ascending.
sub children {
    my ($parent) = @_;
    my @pids = sort { $a <=> $b } map { $_->[0] } grep { $_->[1] == $parent && $_->[2] ne 'Z' } table();
    return @pids;
}

# Those of the pids that run: a zombie does not.
sub running {
    my %state = map { $_->[0] => $_->[2] } table();
    return grep { ($state{$_} // 'Z') ne 'Z' } @_;
}

sub descendants {
    my ($root) = @_;
    my %below = ($root => 1);
    my @all = table();
    for (1 .. 4) {
        $below{ $_->[0] } = 1 for grep { $below{ $_->[1] } } @all;
    }
    delete $below{$root};
    return keys %below;
}

1;
