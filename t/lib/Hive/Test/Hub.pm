package Hive::Test::Hub;

# Hub.pm: speaks to workers as the hubs in nginx do (t/lib/hub_call.c,
# hub_listen.c).
#
#     my $hub = Hive::Test::Hub->new($hive);
#     my ($reply, @records) = $hub->call(channel_open => { channels => [...] }, $ada);
#     my $news = $hub->listen('project:');
#     my $record = $news->next(2);
#
# Of a reply: {status, type, body}; of a record {kind, offset, first, channel,
# type, key, text, allowed, recovered, more, done}, and `json`, its text decoded.

use strict;
use warnings;
use IPC::Open3 ();
use IO::Select;
use Mojo::JSON qw(decode_json encode_json from_json);
use Time::HiRes qw(time);

my @all;

sub new {
    my ($class, $hive) = @_;
    my $self = bless { hive => $hive, base => "ipc://$hive->{dir}/run/worker", clients => {} }, $class;
    push @all, $self;
    return $self;
}

sub start {
    my ($self, $tool, @arguments) = @_;
    my $pid = IPC::Open3::open3(my $in, my $out, '>&STDERR', $self->{hive}->build . "/t/$tool", @arguments);
    $in->autoflush(1);
    return $self->{pids}{$pid} = { pid => $pid, in => $in, out => $out, text => '' };
}

# The next line, undef when none came in that many seconds.
sub line {
    my ($process, $seconds) = @_;
    my $until = time + $seconds;
    my $select = IO::Select->new($process->{out});
    while ($process->{text} !~ /\n/) {
        my $left = $until - time;
        return if $left <= 0 || !$select->can_read($left);
        sysread $process->{out}, $process->{text}, 65536, length $process->{text} or return;
    }
    $process->{text} =~ s/\A(.*)\n//;
    return $1;
}

sub record {
    my ($line) = @_;
    my $record = decode_json($line);
    $record->{json} = from_json($record->{text}) if $record->{kind} =~ /^(?:change|signal|state)$/ && $record->{text} ne '';
    return $record;
}

# Asks for somebody (of Hive::Test's register), for nobody, or with { admin =>
# 1, id => ... } as an administrator.
sub call {
    my ($self, $operation, $body, $user) = @_;
    my @as = !$user ? () : ('-u', $user->{id}, $user->{session} ? ('-s', $user->{session}) : (), $user->{admin} ? '-a' : ());
    my $process = $self->{clients}{"@as"} //= $self->start('hub_call', @as, $self->{base});
    print { $process->{in} } "$operation " . encode_json($body) . "\n";
    my @lines;
    while (1) {
        my $line = line($process, 20) // die "$operation: no answer\n";
        last if $line eq '';
        push @lines, $line;
    }
    my $reply = decode_json(shift @lines);
    $reply->{json} = from_json($reply->{body}) if $reply->{type} =~ /json/ && $reply->{body} ne '';
    return ($reply, map { record($_) } @lines);
}

# What is published from here on under topics that begin so.
sub listen {
    my ($self, @topics) = @_;
    my $process = $self->start('hub_listen', $self->{base}, $self->{hive}{workers}, @topics);
    (line($process, 10) // '') eq 'listening' or die "hub_listen does not start\n";
    return bless $process, 'Hive::Test::Hub::News';
}

# After workers were replaced: clients begin anew.
sub forget {
    my ($self) = @_;
    $self->end($_) for values %{ $self->{clients} };
    $self->{clients} = {};
    return;
}

sub end {
    my ($self, $process) = @_;
    local $?;
    close $process->{in};
    kill 'KILL', $process->{pid};
    waitpid $process->{pid}, 0;
    delete $self->{pids}{ $process->{pid} };
    return;
}

END {
    for my $self (@all) {
        $self->end($_) for values %{ $self->{pids} // {} };
    }
}

package Hive::Test::Hub::News;

# The next record; undef when none came in that many seconds.
sub next {
    my ($self, $seconds) = @_;
    my $line = Hive::Test::Hub::line($self, $seconds // 5) // return;
    return Hive::Test::Hub::record($line);
}

# All that come until it is silent for that long.
sub rest {
    my ($self, $seconds) = @_;
    my @all;
    while (my $record = $self->next($seconds // 0.5)) {
        push @all, $record;
    }
    return @all;
}

1;
