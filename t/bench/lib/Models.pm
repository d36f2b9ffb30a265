package Models;

# Models.pm: model_stream (t/lib/model_stream.c) as a process, for benches.

use strict;
use warnings;
use Bench;
use Hive::Test ();
use IPC::Open3 ();

sub start {
    my ($class) = @_;
    my $port = Hive::Test::free_port();
    my $pid = IPC::Open3::open3(my $in, my $out, '>&STDERR', "$Hive::Test::build/t/model_stream", $port);
    <$out> // die "model_stream does not start\n";
    return bless { pid => $pid, port => $port, in => $in, out => $out }, $class;
}

sub url { "http://127.0.0.1:$_[0]{port}" }
sub pid { $_[0]{pid} }
sub ini { return { anthropic_url => $_[0]->url, anthropic_key => 'bench', connections => 4096 } }

sub stop {
    my ($self) = @_;
    return unless $self->{pid};
    kill TERM => $self->{pid};
    waitpid delete $self->{pid}, 0;
    return;
}

sub DESTROY { local $?; $_[0]->stop }

1;
