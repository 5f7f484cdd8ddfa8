"""The data of the tables: made by the database itself, the same for every arm."""

FIXED_ROWS = 3_000_000
LINEITEM_ROWS = 1_500_000
SQLITE_ROWS = 2_000_000
UPSERT_ROWS = 200_000
UPSERT_ONTO = 1_000_000
MANY_ROWS = 10_000


def postgres_setup(scale: float) -> list[str]:
    fixed, lineitem, onto = (max(1, int(rows * scale)) for rows in (FIXED_ROWS, LINEITEM_ROWS, UPSERT_ONTO))
    return [
        f"""create unlogged table fixed as
            select i::bigint as a, (i * 7)::bigint as b, (i % 1000)::int as c, (i % 7)::smallint as d,
                   i * 0.5::float8 as e, (i % 97)::real as f, (i % 2 = 0) as g,
                   timestamp '2020-01-01' + i * interval '1 second' as h
            from generate_series(1, {fixed}) as s(i)""",
        f"""create unlogged table lineitem as
            select i::bigint as orderkey, (i % 200000)::bigint as partkey, (i % 10000)::bigint as suppkey,
                   (i % 7)::int as linenumber, (i % 50 + 1)::numeric(15,2) as quantity,
                   ((i % 100000) * 1.37)::numeric(15,2) as extendedprice, ((i % 11) / 100.0)::numeric(15,2) as discount,
                   ((i % 9) / 100.0)::numeric(15,2) as tax, substr('ANR', (i % 3) + 1, 1)::char(1) as returnflag,
                   substr('OF', (i % 2) + 1, 1)::char(1) as linestatus, date '1992-01-01' + (i % 2500) as shipdate,
                   date '1992-01-01' + (i % 2400) as commitdate, date '1992-01-01' + (i % 2300) as receiptdate,
                   (array['DELIVER IN PERSON', 'COLLECT COD', 'NONE', 'TAKE BACK RETURN'])[i % 4 + 1]::varchar(25)
                       as shipinstruct,
                   (array['REG AIR', 'AIR', 'RAIL', 'SHIP', 'TRUCK', 'MAIL', 'FOB'])[i % 7 + 1]::varchar(10)
                       as shipmode,
                   substr('the quick brown foxes sleep furiously among carefully ironic packages',
                          i % 20 + 1, 30 + i % 14)
                       as comment
            from generate_series(1, {lineitem}) as s(i)""",
        f"""create table upsert_source as
            select i::bigint as id, i * 2 as v, 'name ' || i as name from generate_series(1, {onto}) as s(i)""",
        "vacuum analyze fixed",
        "vacuum analyze lineitem",
    ]


SQLITE_CREATE = "create table t (a INTEGER, b INTEGER, c INTEGER, d REAL, e REAL, f TEXT, g TEXT, h TEXT)"
SQLITE_FILL = """
    with recursive s(i) as (select 1 union all select i + 1 from s where i < {rows})
    insert into t select i, i * 7, i % 1000, i * 0.5, i * 0.25, 'name ' || (i % 1000),
        'a longer text of some thirty characters ' || (i % 10), '2020-01-' || printf('%02d', i % 28 + 1) from s
"""
