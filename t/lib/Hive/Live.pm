package Hive::Live;

# Live.pm: events, and many clients that watch for them.
#
#     my $live = Hive::Live->new($hive, channels => 100);   projects of one user
#     my $watch = $live->watch(connections => 500, each => 4, cut => 100);
#     $watch->complete(20);                  all have all their subscriptions
#     my @pids = $live->write_in_background(writers => 4, events => 10_000, seconds => 60);
#     $live->wait_for(@pids);
#     my $end = $watch->finish;              what t/lib/live_load.c says

use strict;
use warnings;
use File::Temp ();
use HTTP::Tiny;
use IPC::Open2;
use Mojo::JSON qw(decode_json encode_json);
use Time::HiRes qw(sleep time);

sub new {
    my ($class, $hive, %o) = @_;
    my $user = $hive->register;
    my @projects;
    for my $i (1 .. $o{channels}) {
        my $res = $hive->post('/api/v1/projects', $user, { name => "live $i" });
        die 'no project: ' . $res->body unless ($res->code // 0) == 201;
        push @projects, $res->json->{id};
    }
    my $file = File::Temp->new;
    print $file "project:$_\n" for @projects;
    close $file;
    return bless { hive => $hive, user => $user, projects => \@projects, file => $file }, $class;
}

sub watch {
    my ($self, %o) = @_;
    my $pid = open2(my $out, my $in, $self->{hive}->build . '/t/live_load', '-p', $self->{hive}->port,
        '-t', $self->{user}{token}, '-c', "$self->{file}", '-n', $o{connections}, '-k', $o{each} // 1,
        '-j', $o{jitter} // 300, $o{cut} ? ('-x', $o{cut}) : ());
    return bless { live => $self, pid => $pid, out => $out, in => $in }, 'Hive::Live::Watch';
}

# Each writer changes projects at random, at an even pace, through whatever
# happens; what is refused is tried again.
sub write_in_background {
    my ($self, %o) = @_;
    my @pids;
    for my $writer (1 .. $o{writers}) {
        my $pid = fork // die "fork: $!";
        push @pids, $pid;
        next if $pid;
        srand $$;
        my $http = HTTP::Tiny->new(timeout => 10);
        my ($n, $began, $failed) = (int($o{events} / $o{writers}), time, 0);
        for my $i (1 .. $n) {
            my $due = $began + $o{seconds} * $i / $n;
            my $now = time;
            sleep $due - $now if $due > $now;
            my $id = $self->{projects}[rand @{ $self->{projects} }];
            my $res;
            for (1 .. 200) {
                $res = $http->request(PATCH => $self->{hive}->url("/api/v1/projects/$id"), {
                    headers => { Authorization => "Bearer $self->{user}{token}", 'Content-Type' => 'application/json' },
                    content => encode_json({ description => "change $i of writer $writer" }) });
                last if $res->{success};
                sleep 0.05;
            }
            $failed++ unless $res->{success};
        }
        require POSIX;
        POSIX::_exit($failed ? 1 : 0);
    }
    return @pids;
}

sub wait_for {
    my ($self, @pids) = @_;
    for my $pid (@pids) {
        waitpid $pid, 0;
        die "a writer could not write\n" if $?;
    }
    return;
}

# channel => the offset of its last event.
sub heads {
    my ($self) = @_;
    my %head;
    for (split /\n/, $self->{hive}->psql(q{select 'project:' || id || ' ' || event_seq from cell0.projects})) {
        my ($channel, $offset) = /(project:\S+) (\d+)/ or next;
        $head{$channel} = $offset;
    }
    return \%head;
}

sub written {
    my ($self) = @_;
    my $sum = 0;
    $sum += $_ - 1 for values %{ $self->heads };
    return $sum;
}

package Hive::Live::Watch;

use strict;
use warnings;
use Mojo::JSON qw(decode_json);
use Time::HiRes qw(time);

# 1 when all have all their subscriptions, within that many seconds from now
# on: a word that was said before counts only the first time.
sub complete {
    my ($self, $seconds) = @_;
    my $line = $self->line($seconds) // return 0;
    return $line eq 'all';
}

sub line {
    my ($self, $seconds) = @_;
    my $until = time + $seconds;
    $self->{text} //= '';
    until ($self->{text} =~ /\n/) {
        my $left = $until - time;
        return if $left <= 0;
        vec(my $set = '', fileno $self->{out}, 1) = 1;
        select $set, undef, undef, $left or return;
        sysread $self->{out}, $self->{text}, 65536, length $self->{text} or return;
    }
    $self->{text} =~ s/^(.*?)\n//;
    return $1;
}

sub finish {
    my ($self) = @_;
    my $heads = $self->{live}->heads;
    print { $self->{in} } "$_ $heads->{$_}\n" for keys %$heads;
    close $self->{in};
    my $line;
    do { $line = $self->line(60) } while defined $line && $line eq 'all';
    waitpid $self->{pid}, 0;
    die "live_load said nothing at the end\n" unless defined $line;
    return decode_json($line);
}

1;
