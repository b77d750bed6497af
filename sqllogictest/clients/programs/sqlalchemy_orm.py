"""SQLAlchemy 2: tables made from classes, units of work, queries, and what it finds out about tables."""

import datetime
import decimal

import sqlalchemy as sa
from sqlalchemy import orm
from sqlalchemy.dialects import postgresql

import report
from report import show


class Base(orm.DeclarativeBase):
    pass


class Customer(Base):
    __tablename__ = "customer"
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    name: orm.Mapped[str] = orm.mapped_column(sa.String(50), nullable=False)
    since: orm.Mapped[datetime.date | None]
    balance: orm.Mapped[decimal.Decimal] = orm.mapped_column(sa.Numeric(12, 2), server_default="0")
    note: orm.Mapped[str | None] = orm.mapped_column(sa.Text, comment="what we know")
    purchases: orm.Mapped[list["Purchase"]] = orm.relationship(
        back_populates="customer", primaryjoin="Customer.id == foreign(Purchase.customer_id)", cascade="all, delete-orphan")


class Purchase(Base):
    __tablename__ = "purchase"
    id: orm.Mapped[int] = orm.mapped_column(sa.Identity(), primary_key=True)
    customer_id: orm.Mapped[int]
    amount: orm.Mapped[decimal.Decimal] = orm.mapped_column(sa.Numeric(10, 2))
    at: orm.Mapped[datetime.datetime] = orm.mapped_column(sa.DateTime)
    details: orm.Mapped[dict | None] = orm.mapped_column(postgresql.JSONB)
    tags: orm.Mapped[list[str] | None] = orm.mapped_column(sa.ARRAY(sa.Text))
    paid: orm.Mapped[bool] = orm.mapped_column(server_default=sa.true())
    customer: orm.Mapped[Customer] = orm.relationship(
        back_populates="purchases", primaryjoin="Customer.id == foreign(Purchase.customer_id)")


def main():
    for driver in ("psycopg2", "psycopg"):
        print(f"--- {driver}")
        engine = sa.create_engine(f"postgresql+{driver}://{report.USER}@{report.HOST}:{report.PORT}/{report.DATABASE}")
        Base.metadata.drop_all(engine)
        Base.metadata.create_all(engine)
        work(engine)
        with engine.begin() as connection:
            connection.execute(sa.text("create view rich as select id, name from customer where balance > 10"))
            connection.execute(sa.text("create materialized view totals as select customer_id, sum(amount) as total from purchase group by customer_id"))
        reflection(engine)
        with engine.begin() as connection:
            connection.execute(sa.text("drop materialized view totals"))
            connection.execute(sa.text("drop view rich"))
        Base.metadata.drop_all(engine)
        engine.dispose()


def work(engine):
    with orm.Session(engine) as session:
        ann = Customer(name="Ann", since=datetime.date(2020, 1, 2), purchases=[
            Purchase(amount=decimal.Decimal("9.50"), at=datetime.datetime(2024, 1, 1), details={"k": [1]}, tags=["a"]),
            Purchase(amount=decimal.Decimal("20"), at=datetime.datetime(2024, 1, 2)),
        ])
        session.add_all([ann, Customer(name="Bob", balance=decimal.Decimal("12.34")), Customer(name="Cy")])
        session.commit()
        show("ids", [c.id for c in session.scalars(sa.select(Customer).order_by(Customer.id))])
        show("default", [c.balance for c in session.scalars(sa.select(Customer).order_by(Customer.id))])
        purchase = session.scalars(sa.select(Purchase).order_by(Purchase.id)).first()
        show("loaded", (purchase.amount, purchase.at, purchase.details, purchase.tags, purchase.paid, purchase.customer.name))
        ann.note = "good"
        session.get(Customer, 2).balance += 1
        session.commit()
        show("changed", session.execute(sa.select(Customer.name, Customer.note, Customer.balance).order_by(Customer.id)).all())
        query = (
            sa.select(Customer.name, sa.func.count(Purchase.id), sa.func.sum(Purchase.amount))
            .outerjoin(Purchase, Purchase.customer_id == Customer.id).group_by(Customer.name).order_by(Customer.name))
        show("grouped", session.execute(query).all())
        show("exists", session.scalars(sa.select(Customer.name).where(sa.exists().where(Purchase.customer_id == Customer.id))).all())
        show("in", session.scalars(sa.select(Customer.name).where(Customer.name.in_(["Bob", "Cy"])).order_by(Customer.name)).all())
        show("ilike", session.scalars(sa.select(Customer.name).where(Customer.name.ilike("a%"))).all())
        show("page", session.scalars(sa.select(Customer.name).order_by(Customer.name.desc()).limit(1).offset(1)).all())
        show("json", session.scalars(sa.select(Purchase.details["k"][0].astext).where(Purchase.details.isnot(None))).all())
        show("window", session.execute(sa.select(
            Purchase.id, sa.func.row_number().over(order_by=Purchase.amount.desc())).order_by(Purchase.id)).all())
        show("cte", session.scalars(sa.select(sa.select(Customer.name).where(Customer.balance > 0).cte("c").c.name)).all())
        nested = session.begin_nested()
        session.add(Customer(name="gone"))
        session.flush()
        nested.rollback()
        session.commit()
        show("after savepoint", session.scalar(sa.select(sa.func.count()).select_from(Customer)))
        insert = postgresql.insert(Customer).values(id=1, name="Anna")
        session.execute(insert.on_conflict_do_update(index_elements=["id"], set_={"name": insert.excluded.name}))
        show("upsert", session.scalar(sa.select(Customer.name).where(Customer.id == 1)))
        show("bulk", session.execute(sa.insert(Customer).returning(Customer.id), [{"name": f"c{n}"} for n in range(5)]).scalars().all())
        show("deleted", session.execute(sa.delete(Customer).where(Customer.name.like("c%"))).rowcount)
        session.delete(session.get(Customer, 1))
        session.commit()
        show("cascade", session.scalar(sa.select(sa.func.count()).select_from(Purchase)))
        try:
            session.add(Customer(id=2, name="again"))
            session.flush()
        except sa.exc.IntegrityError as error:
            show("integrity", type(error.orig).__name__)
        session.rollback()


def reflection(engine):
    inspector = sa.inspect(engine)
    show("schemas", sorted(name for name in inspector.get_schema_names() if name in ("public", "information_schema")))
    show("tables", sorted(inspector.get_table_names()))
    show("views", sorted(inspector.get_view_names()))
    show("materialized views", sorted(inspector.get_materialized_view_names()))
    show("sequences", sorted(inspector.get_sequence_names()))
    show("has table", (inspector.has_table("customer"), inspector.has_table("rich"), inspector.has_table("nothing")))
    for table in ("customer", "purchase", "rich", "totals"):
        for column in inspector.get_columns(table):
            column["type"] = repr(column["type"])
            if "identity" in column:
                # Of `json` here, whose members have an order, and of `jsonb` there.
                column["identity"] = dict(sorted(column["identity"].items()))
            show(f"column {table}", column)
    for table in ("customer", "purchase"):
        show(f"key {table}", inspector.get_pk_constraint(table))
        show(f"indexes {table}", inspector.get_indexes(table))
        show(f"unique {table}", inspector.get_unique_constraints(table))
        show(f"foreign keys {table}", inspector.get_foreign_keys(table))
        show(f"checks {table}", inspector.get_check_constraints(table))
        show(f"comment {table}", inspector.get_table_comment(table))
        show(f"options {table}", inspector.get_table_options(table))
    show("enums", inspector.get_enums())
    metadata = sa.MetaData()
    metadata.reflect(engine, views=True)
    show("reflected", sorted(metadata.tables))
    table = metadata.tables["customer"]
    show("reflected columns", [(c.name, str(c.type), c.nullable, c.primary_key) for c in table.columns])
    show("server default", [str(c.server_default.arg) for c in table.columns if c.server_default is not None])


main()
