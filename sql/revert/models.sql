-- Revert hive:models from pg

begin;

delete from :"cell".chores where name = 'usage';
drop function :"cell".usage_price(text, timestamptz, bigint);
drop table :"cell".usage;
drop domain :"cell".usage_state;
drop function hive.model_price(hive.model_prices);
drop table hive.model_prices;
drop table hive.models;

commit;
