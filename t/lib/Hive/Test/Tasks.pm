package Hive::Test::Tasks;

# Tasks.pm: tasks made and watched by SQL, for tests of the engine.
#
#     my $tasks = Hive::Test::Tasks->new($hive);
#     my ($id) = $tasks->add(kind => 'sleep', input => '{"ms": 10}');
#     is $tasks->ended($id), 'succeeded';

use strict;
use warnings;
use Time::HiRes qw(time);

sub new {
    my ($class, $hive, %o) = @_;
    return bless { hive => $hive, owner => '00000000-0000-7000-8000-000000000001', %o }, $class;
}

# Makes count => 1 tasks in one statement and returns their ids, in order:
# those of one millisecond are random. Columns are as the table has them; `state` is ready unless said, turn 0.
sub add {
    my ($self, %o) = @_;
    my $count = delete $o{count} // 1;
    my %row = (owner_id => $self->{owner}, kind => 'noop', state => 'ready', turn => 0, %o);
    my @names = sort grep { $_ ne 'run_at' } keys %row;
    my $run_at = $row{run_at} // 'now()';
    my $columns = join ', ', @names;
    my $values = join ', ', map { "'" . ($row{$_} =~ s/'/''/gr) . "'" } @names;
    my $ids = $self->{hive}->psql(qq{
        insert into cell0.tasks (id, created_at, run_at, $columns)
        select (lpad(to_hex((extract(epoch from clock_timestamp()) * 1000)::bigint), 12, '0') || '7000'
                   || '8' || substr(md5(random()::text), 1, 15))::uuid, now(), $run_at, $values
        from generate_series(1, $count)
        returning id});
    queue($self->{hive});
    my @ids = sort split /\n/, $ids;
    return wantarray ? @ids : $ids[0];
}

# What was made ready by SQL can be claimed from here on.
sub queue {
    my ($hive) = @_;
    $hive->psql(q{insert into cell0.task_ready (lane, turn, id)
        select cell0.task_lane(remote, owner_id, kind), turn, id from cell0.tasks
        where state = 'ready' and worker_id is null and (limit_key is null or limit_slot)
        on conflict do nothing});
    return;
}

# How a task ended, waiting for it that long; '' when it has not.
sub ended {
    my ($self, $id, $seconds) = @_;
    return $self->{hive}->wait_for($seconds // 10, sub { $self->of($id, 'state', 'task_history') });
}

# A column of it; '' when it is not there.
sub of {
    my ($self, $id, $column, $table) = @_;
    return $self->{hive}->psql("select $column from cell0." . ($table // 'all_tasks') . " where id = '$id'");
}

sub wait_state {
    my ($self, $id, $state, $seconds) = @_;
    return $self->{hive}->wait_for($seconds // 10, sub { $self->of($id, 'state') eq $state });
}

# Waits until none is left unfinished; returns the seconds it took, undef when
# it took longer.
sub drained {
    my ($self, $seconds, $where) = @_;
    my $began = time;
    my $sql = 'select exists (select from cell0.tasks' . ($where ? " where $where" : '') . ')';
    return $self->{hive}->wait_for($seconds, sub { $self->{hive}->psql($sql) eq 'f' }) ? time - $began : undef;
}

1;
