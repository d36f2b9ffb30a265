# a fast restart of Postgres under load

use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/../lib";
use Test::More;
use Hive::Fault;

fault_test(name => 'restart Postgres', lasts => 4, recover => 5, inject => sub {
    my ($hive) = @_;
    $hive->restart_postgres;
});
done_testing;
