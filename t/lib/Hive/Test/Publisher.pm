package Hive::Test::Publisher;

# Publisher.pm: events in the place of a worker's that nobody uses
# (t/lib/hub_publish.c).
#
#     my $publisher = Hive::Test::Publisher->new($hive, 'project:...');
#     $publisher->say('a line, the data of an event');
#     $publisher->end;

use strict;
use warnings;

sub new {
    my ($class, $hive, @channels) = @_;
    my $pid = open my $in, '|-', $hive->build . '/t/hub_publish', 'ipc://' . $hive->dir . '/run/worker.0b.events', @channels
        or die "hub_publish: $!\n";
    $in->autoflush(1);
    select undef, undef, undef, 1.2;      # until the hubs have found it
    return bless { pid => $pid, in => $in }, $class;
}

sub say { my ($self, $line) = @_; print { $self->{in} } "$line\n"; return }

sub end { my ($self) = @_; close $self->{in}; return }

1;
